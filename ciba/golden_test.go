package ciba

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

const (
	goldenIssuer = "https://pp.netseidbroker.dk/op"
	goldenClient = "62b8cc03-aa73-4d6a-922c-7c8fb0a4a1d9"
	goldenUUID   = "eee4b272-6a33-40da-ab0b-5ce2abd42e78"
	goldenText   = "ostemawd :=)"
	goldenKid    = "048058BB59F4D3007045896FD488CE81F4EB4923"
	goldenEncKid = "A2E10A6BAF4E43E86273F57F218A44B824203176"
)

var goldenTime = time.Date(2024, 5, 7, 13, 11, 0, 0, time.UTC)

func testdata(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// goldenClient is a client of the recorded broker, with keys as given.
func newGoldenClient(t testing.TB, jwks string, now time.Time) *Client {
	p := &provider{handlers: make(map[string]func(request) reply)}
	p.on(pathDiscovery, 200, testdata(t, "discovery.json"))
	p.on("GET /op/.well-known/openid-configuration/jwks", 200, jwks)
	return newClient(t, p, func(c *Config) {
		c.Issuer, c.ClientID = goldenIssuer, goldenClient
		at(now)(c)
	})
}

func goldenTokens(t testing.TB) Tokens {
	t.Helper()
	tokens, err := parseTokens(answer{status: http.StatusOK, body: []byte(testdata(t, "token-response.json"))})
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func goldenExpect() Expect {
	return Expect{StartedAt: time.Date(2024, 5, 7, 13, 10, 40, 0, time.UTC), UUID: goldenUUID, ReferenceText: goldenText}
}

// What the broker really sent.
func TestGolden_brokersTokenVerifies(t *testing.T) {
	tokens := goldenTokens(t)
	if tokens.TokenType != "Bearer" || tokens.Scope != "openid mitid" || tokens.ExpiresIn != time.Hour || tokens.AccessToken == "" {
		t.Error("token response is not what was recorded")
	}
	id, err := newGoldenClient(t, testdata(t, "jwks.json"), goldenTime).Verify(t.Context(), tokens, goldenExpect())
	if err != nil {
		t.Fatal(err)
	}
	issued := time.Date(2024, 5, 7, 13, 10, 53, 0, time.UTC)
	if id.UUID != goldenUUID || id.TransactionID != "9581bab6-9f8a-4526-9ddc-dfd3981263b9" ||
		id.Subject != "7c9484f5-44bf-4e29-a683-84548951d3b8" || id.LoA != LoANone ||
		!id.AuthTime.Equal(issued) || !id.IssuedAt.Equal(issued) || !id.ExpiresAt.Equal(issued.Add(5*time.Minute)) {
		t.Errorf("identity is not what was recorded: %+v", struct{ a, b, c any }{id.UUID, id.TransactionID, id.Subject})
	}
}

func TestGolden_refusesBrokersTokenWhenSomethingElseWasAsked(t *testing.T) {
	for _, tc := range []struct {
		name  string
		now   time.Time
		want  func(*Expect)
		check string
	}{
		{"a second before expiry", time.Date(2024, 5, 7, 13, 15, 52, 0, time.UTC), nil, ""},
		{"expired", time.Date(2024, 5, 7, 13, 15, 53, 0, time.UTC), nil, "exp"},
		{"expired for a second", time.Date(2024, 5, 7, 13, 15, 54, 0, time.UTC), nil, "exp"},
		{"not yet valid", time.Date(2024, 5, 7, 13, 10, 22, 0, time.UTC), func(e *Expect) { e.StartedAt = time.Time{} }, "nbf"},
		{"another person", goldenTime, func(e *Expect) { e.UUID = "eee4b272-6a33-40da-ab0b-5ce2abd42e79" }, "mitid.uuid"},
		{"another text", goldenTime, func(e *Expect) { e.ReferenceText = "ostemad :=)" }, "mitid.reference_text"},
		{"started later", goldenTime, func(e *Expect) { e.StartedAt = time.Date(2024, 5, 7, 13, 11, 24, 0, time.UTC) }, "iat"},
		{"substantial wanted", goldenTime, func(e *Expect) { e.LoA = LoASubstantial }, "loa"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := goldenExpect()
			if tc.want != nil {
				tc.want(&want)
			}
			_, err := newGoldenClient(t, testdata(t, "jwks.json"), tc.now).Verify(t.Context(), goldenTokens(t), want)
			if tc.check == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantCheck(t, err, tc.check)
		})
	}
}

// One bit, anywhere: of every character one of the six it stands for, and of
// each part's last character all six, since a lax decoder ignores some of them.
func TestGolden_refusesAnyChangedBit(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	c := newGoldenClient(t, testdata(t, "jwks.json"), goldenTime)
	tokens := goldenTokens(t)
	good := tokens.IDToken + "."
	for i := range len(good) - 1 {
		first, last := i%6, i%6
		if good[i+1] == '.' {
			first, last = 0, 5
		}
		for bit := first; bit <= last; bit++ {
			b := []byte(good[:len(good)-1])
			if value := strings.IndexByte(alphabet, b[i]); value >= 0 {
				b[i] = alphabet[value^1<<bit]
			} else {
				b[i] ^= 1 << bit // one of the dots
			}
			tokens.IDToken = string(b)
			if _, err := c.Verify(t.Context(), tokens, goldenExpect()); err == nil {
				t.Fatalf("accepted with bit %d of character %d changed", bit, i)
			}
		}
	}
}

func TestGolden_refusesAccessTokenAsIDToken(t *testing.T) {
	tokens := goldenTokens(t)
	tokens.IDToken = tokens.AccessToken
	_, err := newGoldenClient(t, testdata(t, "jwks.json"), goldenTime).Verify(t.Context(), tokens, goldenExpect())
	wantCheck(t, err, "typ")
}

// The set names the encryption key by the signing key's kid, or the signing key
// by use enc: neither may verify the token.
func TestGolden_refusesTokenSignedByEncryptionKey(t *testing.T) {
	jwks := testdata(t, "jwks.json")
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal([]byte(jwks), &set); err != nil {
		t.Fatal(err)
	}
	swapped := strings.NewReplacer(goldenKid, goldenEncKid, goldenEncKid, goldenKid).Replace(jwks)
	for _, k := range set.Keys {
		if k["kid"] == goldenKid {
			k["use"] = "enc"
		}
	}
	forEncryption := toJSON(map[string]any{"keys": set.Keys})
	for _, k := range set.Keys {
		switch k["kid"] {
		case goldenKid:
			k["kid"] = "other"
		case goldenEncKid:
			k["kid"], k["use"] = goldenKid, "sig"
		}
	}
	for _, tc := range []struct{ name, jwks string }{
		{"kids swapped, uses kept", swapped},
		{"signing key of use enc", forEncryption},
		{"encryption key under the kid, for signing", toJSON(map[string]any{"keys": set.Keys})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := newGoldenClient(t, tc.jwks, goldenTime).Verify(t.Context(), goldenTokens(t), goldenExpect())
			wantCheck(t, err, "signature")
		})
	}
}
