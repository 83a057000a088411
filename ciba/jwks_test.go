package ciba

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// One key that is unreadable or unfit must not spoil the others, nor be used.
func TestParseKeys_passesOverBadKeys(t *testing.T) {
	weak := must(rsa.GenerateKey(rand.Reader, 1024))
	good := jwk(rsaKey(), "sig", "sig", "")
	for name, bad := range map[string]string{
		"not a key":          `{}`,
		"null":               `null`,
		"a number":           `1`,
		"no such type":       `{"kty":"XYZ","kid":"x"}`,
		"point off curve":    `{"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":"x"}`,
		"RSA without number": `{"kty":"RSA","e":"AQAB","kid":"x"}`,
		"RSA of 1024 bits":   jwk(weak, "weak", "sig", ""),
		"for encryption":     jwk(otherKey(), "enc", "enc", ""),
		"of unknown use":     jwk(otherKey(), "enc", "tls", ""),
		"key_ops encrypt":    strings.Replace(jwk(otherKey(), "enc", "", ""), `"kty"`, `"key_ops":["encrypt","wrapKey"],"kty"`, 1),
		"key_ops malformed":  strings.Replace(jwk(otherKey(), "enc", "", ""), `"kty"`, `"key_ops":"verify","kty"`, 1),
		"a shared secret":    `{"kty":"oct","k":"AAAA","kid":"x","use":"sig"}`,
		"a private key":      string(must(jose.JSONWebKey{Key: otherKey(), KeyID: "x", Use: "sig"}.MarshalJSON())),
	} {
		set, err := parseKeys([]byte(`{"keys":[` + bad + `,` + good + `,` + bad + `]}`))
		if err != nil || len(set) != 1 || set[0].id != "sig" {
			t.Errorf("%s: got %d keys, error %v; want the good one", name, len(set), err)
		}
		if _, err := parseKeys([]byte(`{"keys":[` + bad + `]}`)); err == nil {
			t.Errorf("%s: a set of it alone was accepted", name)
		}
	}
	verify := strings.Replace(good, `"kty"`, `"key_ops":["verify"],"kty"`, 1)
	if set, err := parseKeys([]byte(`{"keys":[` + verify + `]}`)); err != nil || len(set) != 1 {
		t.Errorf("key_ops verify: got %d keys, error %v", len(set), err)
	}
}

func TestParseKeys_refusesOtherDocuments(t *testing.T) {
	for _, body := range []string{``, `[]`, `{}`, `{"keys":null}`, `{"keys":{}}`, `{"keys":[]}`, `{"keys":[],"keys":[]}`, `<html>`} {
		if _, err := parseKeys([]byte(body)); err == nil {
			t.Errorf("%q was accepted", body)
		}
	}
	many := `{"keys":[` + strings.Repeat(`{},`, maxKeys) + jwk(rsaKey(), "sig", "sig", "") + `]}`
	if _, err := parseKeys([]byte(many)); err == nil {
		t.Error("more keys were read than the bound allows")
	}
}

// A token of that kid and key, by the bubble's clock.
func freshToken(kid string) Tokens {
	now := time.Now().Unix()
	return Tokens{IDToken: sign("RS256", rsaKey(), `{"alg":"RS256","kid":"`+kid+`"}`, tokenClaims(map[string]any{
		"nbf": now, "iat": now, "auth_time": now, "exp": now + 300,
	}))}
}

func freshExpect() Expect {
	e := expected()
	e.StartedAt = time.Now()
	return e
}

// The provider changes its key: the first token by the new one fetches the set,
// tokens by unknown keys afterwards do not fetch it over and over.
func TestClient_Verify_fetchesKeysForUnknownKidAtMostEvery30Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(jwk(rsaKey(), "old", "sig", ""))
		c := newClient(t, p, nil)
		verify := func(kid string) error {
			_, err := c.Verify(t.Context(), freshToken(kid), freshExpect())
			return err
		}
		if err := verify("old"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		p.on(pathJWKS, 200, `{"keys":[`+jwk(rsaKey(), "new", "sig", "")+`]}`)
		if err := verify("new"); err != nil {
			t.Fatalf("token by the new key: %v", err)
		}
		wantCheck(t, verify("old"), "signature")
		for range 100 {
			wantCheck(t, verify("unknown"), "signature")
		}
		if n := p.count(pathJWKS); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
		time.Sleep(30 * time.Second)
		p.on(pathJWKS, 503, "")
		for range 100 {
			wantKind(t, verify("unknown"), ErrUnavailable)
		}
		if n := p.count(pathJWKS); n != 3 {
			t.Errorf("%d fetches, want 3", n)
		}
		if err := verify("new"); err != nil {
			t.Errorf("known key while the provider is down: %v", err)
		}
	})
}

// A set that was only just fetched is not fetched again for an unknown kid.
func TestClient_Verify_unknownKidOnFirstFetch(t *testing.T) {
	p := newProvider(jwk(rsaKey(), "sig", "sig", ""))
	c := newClient(t, p, at(tokenTime))
	token := sign("RS256", rsaKey(), `{"alg":"RS256","kid":"x"}`, tokenClaims(nil))
	_, err := c.Verify(t.Context(), Tokens{IDToken: token}, expected())
	wantCheck(t, err, "signature")
	if n := p.count(pathJWKS); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

// Verification goes on with known keys for a day, and then stops.
func TestClient_Verify_whileKeysCannotBeFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		p.handle(pathJWKS, func(request) reply {
			return reply{status: 200, header: http.Header{"Cache-Control": {"max-age=600"}}, body: `{"keys":[` + jwk(rsaKey(), "sig", "", "") + `]}`}
		})
		c := newClient(t, p, func(c *Config) { c.Algorithms = []string{"RS256"}; c.Endpoints.JWKS = testIssuer + "/jwks" })
		verify := func() error {
			_, err := c.Verify(t.Context(), freshToken("sig"), freshExpect())
			return err
		}
		if err := verify(); err != nil {
			t.Fatal(err)
		}
		p.handle(pathJWKS, func(request) reply { return reply{err: errors.New("no route")} })
		time.Sleep(24 * time.Hour)
		if err := verify(); err != nil {
			t.Errorf("after a day: %v", err)
		}
		time.Sleep(time.Hour)
		wantKind(t, verify(), ErrUnavailable)
		p.on(pathJWKS, 200, `{"keys":[`+jwk(otherKey(), "enc", "enc", "")+`]}`)
		time.Sleep(time.Minute)
		wantKind(t, verify(), ErrUnavailable) // no signing key in it
	})
}
