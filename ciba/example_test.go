package ciba_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-stepup/stepup/ciba"
)

// broker plays the provider: it is asked, answers that the person has not
// decided yet, and then that they said no.
type broker struct{ polls int }

func (b *broker) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := http.StatusOK, ""
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		body = `{
			"issuer": "https://broker.example",
			"backchannel_authentication_endpoint": "https://broker.example/ciba",
			"token_endpoint": "https://broker.example/token",
			"jwks_uri": "https://broker.example/jwks",
			"id_token_signing_alg_values_supported": ["RS256"]
		}`
	case "/ciba":
		body = `{"auth_req_id": "1c266114", "expires_in": 300, "interval": 5}`
	case "/token":
		status, body = http.StatusBadRequest, `{"error": "authorization_pending"}`
		if b.polls++; b.polls > 1 {
			body = `{"error": "access_denied"}`
		}
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func Example() {
	client, err := ciba.New(ciba.Config{
		Issuer:    "https://broker.example",
		ClientID:  "client-1",
		Auth:      ciba.ClientSecretPost("secret"),
		Transport: &broker{}, // a real client leaves this out
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	const (
		uuid = "8a9856e0-f12d-4217-b320-c8a076be9320"
		text = "Betal 100,00 kr. til Bager Hansen"
	)
	hint, err := ciba.MitIDHint{UUID: uuid, ReferenceText: text, IP: "192.0.2.1", Action: "APPROVE"}.Plain()
	if err != nil {
		fmt.Println(err)
		return
	}
	started, err := client.Start(ctx, ciba.Request{LoginHintToken: hint})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("asked, for %v\n", started.ExpiresIn)
	for deadline := started.SentAt.Add(started.ExpiresIn); time.Now().Before(deadline); {
		tokens, err := client.Poll(ctx, started.AuthReqID)
		switch {
		case errors.Is(err, ciba.ErrPending):
			fmt.Printf("no answer yet, next poll in %v\n", started.Interval) // and wait for so long
			continue
		case err != nil:
			fmt.Println(err)
			return
		}
		identity, err := client.Verify(ctx, tokens, ciba.Expect{
			AuthReqID:     started.AuthReqID,
			StartedAt:     started.SentAt,
			UUID:          uuid,
			ReferenceText: text,
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("approved at", identity.AuthTime)
		return
	}
	// Output:
	// asked, for 5m0s
	// no answer yet, next poll in 5s
	// token endpoint: access denied: status 400: error "access_denied"
}
