package ciba

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"
)

func FuzzTokenResponse(f *testing.F) {
	f.Add(200, []byte(testdata(f, "token-response.json")))
	f.Add(400, []byte(`{"error":"authorization_pending"}`))
	f.Add(200, []byte(`{"error":"slow_down","id_token":"i"}`))
	f.Add(200, []byte(`{"id_token":"i","expires_in":"1e400","error":null}`))
	f.Add(503, []byte(`<html>`))
	f.Add(200, []byte(acknowledged))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		a := answer{endpoint: endpointToken, status: status, body: body}
		tokens, err := parseTokens(a)
		if err == nil {
			var members map[string]any
			if json.Unmarshal(body, &members) != nil {
				t.Fatal("success without a JSON object")
			}
			if _, ok := members["error"]; ok || status < 200 || status > 299 || tokens.IDToken == "" || tokens.ExpiresIn < 0 {
				t.Fatal("success that is none")
			}
		} else if _, ok := errors.AsType[*Error](err); !ok && !errors.Is(err, ErrToken) {
			t.Fatalf("untyped error %v", err)
		}
		var s Started
		if err := s.read(a); err == nil && (!isAuthReqID(s.AuthReqID) || s.ExpiresIn < time.Second || s.Interval < time.Second || s.Interval > maxInterval) {
			t.Fatalf("acknowledged without sense: %v", s)
		}
	})
}

func FuzzIDToken(f *testing.F) {
	c := newGoldenClient(f, testdata(f, "jwks.json"), goldenTime)
	golden := goldenTokens(f)
	parts := strings.Split(golden.IDToken, ".")
	f.Add(golden.IDToken)
	f.Add(golden.AccessToken)
	f.Add(parts[0] + "." + parts[1] + ".")
	f.Add("eyJhbGciOiJub25lIn0." + parts[1] + ".")
	f.Add(golden.IDToken + "\n")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		tokens := golden
		tokens.IDToken = token
		_, err := c.Verify(t.Context(), tokens, goldenExpect())
		switch {
		case err == nil && token != golden.IDToken:
			t.Fatal("accepted a token that the broker did not make")
		case err != nil && !errors.Is(err, ErrToken):
			t.Fatalf("untyped error %v", err)
		}
	})
}

func FuzzJWKS(f *testing.F) {
	f.Add([]byte(testdata(f, "jwks.json")))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		set, err := parseKeys(body)
		if err == nil && len(set) == 0 {
			t.Fatal("accepted a set without keys")
		}
		for _, k := range set {
			switch p := k.public.(type) {
			case *rsa.PublicKey:
				if p.N.BitLen() < minRSABits {
					t.Fatal("weak key")
				}
			case *ecdsa.PublicKey, ed25519.PublicKey:
			default:
				t.Fatalf("key of type %T", p)
			}
			for _, alg := range []string{"", "none", "HS256", "HS384", "HS512"} {
				if k.fits(alg) {
					t.Fatalf("key fits %q", alg)
				}
			}
		}
	})
}

func FuzzDiscovery(f *testing.F) {
	f.Add([]byte(testdata(f, "discovery.json")))
	f.Add([]byte(`{"issuer":"` + goldenIssuer + `","token_endpoint":"http://127.0.0.1/"}`))
	f.Add([]byte(`{"issuer":"` + goldenIssuer + `","id_token_signing_alg_values_supported":["none","HS256"]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		members, err := parseObject(body)
		if err != nil {
			return
		}
		m, err := parseMetadata(members, goldenIssuer, "client_secret_post")
		if err != nil {
			return
		}
		for _, e := range []string{m.backchannelAuthentication, m.token, m.jwks} {
			if u, err := url.Parse(e); e != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
				t.Fatalf("accepted endpoint %q", e)
			}
		}
		for _, alg := range m.algorithms {
			if alg == "none" || strings.HasPrefix(alg, "HS") {
				t.Fatalf("accepted algorithm %q", alg)
			}
		}
	})
}
