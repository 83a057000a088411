package ciba

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

// tokenTime is when the tokens of these tests are verified.
var tokenTime = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// tokenHeader is the header of the broker's tokens.
const tokenHeader = `{"alg":"RS256","kid":"sig","typ":"JWT"}`

// tokenClaims are those of a good token, with changes; nil removes.
func tokenClaims(change map[string]any) string {
	issued := tokenTime.Add(-10 * time.Second).Unix()
	return toJSON(changed(map[string]any{
		"iss":                  testIssuer,
		"aud":                  testClient,
		"sub":                  "pseudonym",
		"nbf":                  issued,
		"iat":                  issued,
		"auth_time":            issued,
		"exp":                  issued + 300,
		"idp":                  "mitid",
		"idtoken_type":         "ciba",
		"mitid.uuid":           testUUID,
		"mitid.reference_text": testText,
		"mitid.transaction_id": "tx-1",
		"mitid.identity_name":  "Ingen Navn",
	}, change))
}

// expected is what the good token answers.
func expected() Expect {
	return Expect{AuthReqID: testID, StartedAt: tokenTime.Add(-20 * time.Second), UUID: testUUID, ReferenceText: testText}
}

// verifier is a client whose provider has the keys sig (RSA), ec, ed and enc.
func verifier(t testing.TB, change func(*Config)) (*Client, *provider) {
	p := newProvider(
		jwk(rsaKey(), "sig", "sig", ""),
		jwk(ecKey(), "ec", "", "ES256"),
		jwk(edKey(), "ed", "sig", "EdDSA"),
		jwk(ec384Key(), "ec384", "sig", ""),
		jwk(otherKey(), "enc", "enc", ""),
	)
	return newClient(t, p, func(c *Config) {
		at(tokenTime)(c)
		if change != nil {
			change(c)
		}
	}), p
}

func TestClient_Verify(t *testing.T) {
	c, _ := verifier(t, nil)
	got, err := c.Verify(t.Context(), Tokens{IDToken: sign("RS256", rsaKey(), tokenHeader, tokenClaims(nil))}, expected())
	if err != nil {
		t.Fatal(err)
	}
	issued := tokenTime.Add(-10 * time.Second)
	want := Identity{
		UUID: testUUID, TransactionID: "tx-1", Subject: "pseudonym",
		AuthTime: issued, IssuedAt: issued, ExpiresAt: issued.Add(300 * time.Second),
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b Identity) bool {
		return a.UUID == b.UUID && a.TransactionID == b.TransactionID && a.Subject == b.Subject && a.LoA == b.LoA &&
			a.AuthTime.Equal(b.AuthTime) && a.IssuedAt.Equal(b.IssuedAt) && a.ExpiresAt.Equal(b.ExpiresAt)
	})); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
}

// Each claim that a token may have, as an attacker or a broken provider would
// like it, and how the other claims then must not help.
func TestClient_Verify_claims(t *testing.T) {
	sec := func(d time.Duration) int64 { return tokenTime.Add(d).Unix() }
	type claimSet = map[string]any
	for _, tc := range []struct {
		name   string
		claims claimSet
		want   func(*Expect)
		config func(*Config)
		check  string // "": accepted
	}{
		{name: "audience as array of one", claims: claimSet{"aud": []string{testClient}}},
		{name: "audience of another client", claims: claimSet{"aud": "client-2"}, check: "aud"},
		{name: "audience missing", claims: claimSet{"aud": nil}, check: "aud"},
		{name: "audience empty", claims: claimSet{"aud": []string{}}, check: "aud"},
		{name: "audience a number", claims: claimSet{"aud": 1}, check: "aud"},
		{name: "audience with a number", claims: claimSet{"aud": []any{testClient, 1}}, check: "aud"},
		{name: "audience with null", claims: claimSet{"aud": []any{testClient, nil}}, check: "aud"},
		{name: "untrusted second audience", claims: claimSet{"aud": []string{testClient, "x"}, "azp": testClient}, check: "aud"},
		{name: "trusted second audience", claims: claimSet{"aud": []string{testClient, "x"}, "azp": testClient}, config: func(c *Config) { c.TrustedAudiences = []string{"x"} }},
		{name: "trusted audience alone", claims: claimSet{"aud": "x"}, config: func(c *Config) { c.TrustedAudiences = []string{"x"} }, check: "aud"},
		{name: "two audiences without azp", claims: claimSet{"aud": []string{testClient, "x"}}, config: func(c *Config) { c.TrustedAudiences = []string{"x"} }, check: "azp"},
		{name: "azp of another client", claims: claimSet{"azp": "client-2"}, check: "azp"},
		{name: "azp empty", claims: claimSet{"azp": ""}, check: "azp"},
		{name: "azp an array", claims: claimSet{"azp": []string{testClient}}, check: "azp"},

		{name: "issuer missing", claims: claimSet{"iss": nil}, check: "iss"},
		{name: "issuer of another tenant", claims: claimSet{"iss": testIssuer + "2"}, check: "iss"},
		{name: "issuer with slash", claims: claimSet{"iss": testIssuer + "/"}, check: "iss"},
		{name: "issuer an array", claims: claimSet{"iss": []string{testIssuer}}, check: "iss"},

		{name: "expires in a second", claims: claimSet{"exp": sec(time.Second)}},
		{name: "expires now, without leeway", claims: claimSet{"exp": sec(0)}, check: "exp"},
		{name: "expired six minutes ago", claims: claimSet{"exp": sec(-6 * time.Minute)}, check: "exp"},
		{name: "expiry missing", claims: claimSet{"exp": nil}, check: "exp"},
		{name: "not valid before, within skew", claims: claimSet{"nbf": sec(30 * time.Second)}},
		{name: "not valid before, beyond skew", claims: claimSet{"nbf": sec(31 * time.Second)}, check: "nbf"},
		{name: "not before missing", claims: claimSet{"nbf": nil}},
		{name: "issued in the future, within skew", claims: claimSet{"iat": sec(30 * time.Second)}},
		{name: "issued in the future, beyond skew", claims: claimSet{"iat": sec(31 * time.Second)}, check: "iat"},
		{name: "issued at missing", claims: claimSet{"iat": nil}, check: "iat"},
		{name: "issued at missing where any age is accepted", claims: claimSet{"iat": nil}, config: func(c *Config) { c.MaxTokenAge = math.MaxInt64 }, check: "iat"},
		{name: "issued a week ago", claims: claimSet{"iat": sec(-7 * 24 * time.Hour)}, want: func(e *Expect) { e.StartedAt = time.Time{} }, check: "iat"},
		{name: "issued ten minutes ago", claims: claimSet{"iat": sec(-10 * time.Minute)}, want: func(e *Expect) { e.StartedAt = time.Time{} }},
		{name: "issued ten minutes and a second ago", claims: claimSet{"iat": sec(-10*time.Minute - time.Second)}, want: func(e *Expect) { e.StartedAt = time.Time{} }, check: "iat"},
		{name: "issued before the request, within skew", claims: claimSet{"iat": sec(-50 * time.Second)}},
		{name: "issued before the request, token replayed", claims: claimSet{"iat": sec(-51 * time.Second)}, check: "iat"},
		{name: "authenticated before the request, within skew", claims: claimSet{"auth_time": sec(-50 * time.Second)}},
		{name: "authenticated before the request, by an old session", claims: claimSet{"auth_time": sec(-51 * time.Second)}, check: "auth_time"},
		{name: "authenticated in the future", claims: claimSet{"auth_time": sec(31 * time.Second)}, check: "auth_time"},
		{name: "auth_time missing", claims: claimSet{"auth_time": nil}},

		{name: "sub missing", claims: claimSet{"sub": nil}, check: "sub"},
		{name: "sub a number", claims: claimSet{"sub": 1}, check: "sub"},
		{name: "at_hash without access token", claims: claimSet{"at_hash": "ioMN8ZVwkuk9s7q6MlsSFA"}, check: "at_hash"},
		{name: "at_hash of nothing, without access token", claims: claimSet{"at_hash": "47DEQpj8HBSa-_TImW-5JA"}, check: "at_hash"},
		{name: "auth_req_id of the request", claims: claimSet{authReqIDClaim: testID}},
		{name: "auth_req_id of another request", claims: claimSet{authReqIDClaim: "other"}, check: "auth_req_id"},
		{name: "auth_req_id null", claims: claimSet{authReqIDClaim: []any{}}, check: "auth_req_id"},
		{name: "idp missing", claims: claimSet{"idp": nil}, check: "idp"},
		{name: "idp a test one", claims: claimSet{"idp": "mitid_simulator"}, check: "idp"},
		{name: "id token of a browser login", claims: claimSet{"idtoken_type": nil}, check: "idtoken_type"},
		{name: "id token of another flow", claims: claimSet{"idtoken_type": "code"}, check: "idtoken_type"},

		{name: "another person", claims: claimSet{"mitid.uuid": "99999999-2222-3333-4444-555555555abc"}, check: "mitid.uuid"},
		{name: "no person", claims: claimSet{"mitid.uuid": nil}, check: "mitid.uuid"},
		{name: "person as array", claims: claimSet{"mitid.uuid": []string{testUUID}}, check: "mitid.uuid"},
		{name: "person in capitals", claims: claimSet{"mitid.uuid": strings.ToUpper(testUUID)}},
		{name: "person asked for in capitals", want: func(e *Expect) { e.UUID = strings.ToUpper(testUUID) }},
		{name: "nobody asked for and nobody there", claims: claimSet{"mitid.uuid": ""}, want: func(e *Expect) { e.UUID = "" }, check: "mitid.uuid"},
		{name: "nobody asked for", want: func(e *Expect) { e.UUID = "" }, check: "mitid.uuid"},
		{name: "other text", claims: claimSet{"mitid.reference_text": testText + " "}, check: "mitid.reference_text"},
		{name: "no text", claims: claimSet{"mitid.reference_text": nil}, check: "mitid.reference_text"},
		{name: "no text asked for", claims: claimSet{"mitid.reference_text": ""}, want: func(e *Expect) { e.ReferenceText = "" }, check: "mitid.reference_text"},

		{name: "nonce not sent back", want: func(e *Expect) { e.Nonce = "n" }},
		{name: "nonce", claims: claimSet{"ciba_nonce": "n", "nonce": "n"}, want: func(e *Expect) { e.Nonce = "n" }},
		{name: "ciba_nonce of another request", claims: claimSet{"ciba_nonce": "m", "nonce": "n"}, want: func(e *Expect) { e.Nonce = "n" }, check: "nonce"},
		{name: "nonce of another request", claims: claimSet{"ciba_nonce": "n", "nonce": "m"}, want: func(e *Expect) { e.Nonce = "n" }, check: "nonce"},
		{name: "nonce a number", claims: claimSet{"ciba_nonce": 1}, check: "nonce"},

		{name: "loa not asked for", claims: claimSet{"loa": "Low"}},
		{name: "loa missing", want: func(e *Expect) { e.LoA = LoALow }, check: "loa"},
		{name: "loa reached", claims: claimSet{"loa": loaPrefix + "Substantial"}, want: func(e *Expect) { e.LoA = LoASubstantial }},
		{name: "loa exceeded", claims: claimSet{"acr": "HIGH"}, want: func(e *Expect) { e.LoA = LoASubstantial }},
		{name: "loa too low", claims: claimSet{"loa": "Low"}, want: func(e *Expect) { e.LoA = LoASubstantial }, check: "loa"},
		{name: "lowest of loa and acr counts", claims: claimSet{"loa": "High", "acr": loaPrefix + "Low"}, want: func(e *Expect) { e.LoA = LoASubstantial }, check: "loa"},
		{name: "lowest of acr and loa counts", claims: claimSet{"loa": "Low", "acr": "High"}, want: func(e *Expect) { e.LoA = LoASubstantial }, check: "loa"},
		{name: "lowest of loa and mitid.loa counts", claims: claimSet{"loa": "High", "mitid.loa": "LOW"}, want: func(e *Expect) { e.LoA = LoASubstantial }, check: "loa"},
		{name: "acr that is no level counts as none", claims: claimSet{"loa": "High", "acr": "urn:x"}, want: func(e *Expect) { e.LoA = LoALow }, check: "loa"},
		{name: "loa a number", claims: claimSet{"loa": 3}, check: "loa"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, _ := verifier(t, tc.config)
			want := expected()
			if tc.want != nil {
				tc.want(&want)
			}
			id, err := c.Verify(t.Context(), Tokens{IDToken: sign("RS256", rsaKey(), tokenHeader, tokenClaims(tc.claims))}, want)
			if tc.check == "" {
				if err != nil {
					t.Fatal(err)
				}
				if id.AuthTime.IsZero() {
					t.Error("identity has no time of authentication")
				}
				return
			}
			wantCheck(t, err, tc.check)
			if id != (Identity{}) {
				t.Error("a refused token gave an identity")
			}
		})
	}
}

// Numbers that a lax parser takes for some other time, or panics on.
func TestClient_Verify_refusesOddNumericDates(t *testing.T) {
	c, _ := verifier(t, nil)
	for _, name := range timeClaims {
		for _, number := range []string{
			"1e300", "1e10", "-1", "1763812800.5", `"1763812800"`, "[1763812800]", "{}", "null", "true",
			"99999999999999999999", "253402300800", "0x1", "01763812800",
			"18446744075504900414", // 2^64 more than a good one
		} {
			payload := strings.Replace(tokenClaims(map[string]any{name: "HERE"}), `"HERE"`, number, 1)
			_, err := c.Verify(t.Context(), Tokens{IDToken: sign("RS256", rsaKey(), tokenHeader, payload)}, expected())
			e, ok := errors.AsType[*TokenError](err)
			if !ok {
				t.Errorf("%s %s: got %v, want a TokenError", name, number, err)
			} else if e.Check != name && e.Check != "format" {
				t.Errorf("%s %s: got %v, want check %q", name, number, err, name)
			}
		}
	}
}

// A caller that forgot what it asked for is no reason to ask the provider.
func TestClient_Verify_needsSomethingToCompareWith(t *testing.T) {
	c, p := verifier(t, nil)
	for check, want := range map[string]Expect{
		"mitid.uuid":           {ReferenceText: testText},
		"mitid.reference_text": {UUID: testUUID},
	} {
		_, err := c.Verify(t.Context(), Tokens{IDToken: sign("RS256", rsaKey(), tokenHeader, tokenClaims(nil))}, want)
		wantCheck(t, err, check)
	}
	if len(p.seen) != 0 {
		t.Errorf("%d requests", len(p.seen))
	}
}

func TestClient_Verify_refusesTokensOfAnotherForm(t *testing.T) {
	good := sign("RS256", rsaKey(), tokenHeader, tokenClaims(nil))
	parts := strings.Split(good, ".")
	signature := must(base64.RawURLEncoding.DecodeString(parts[2]))
	signed := func(header, payload string) string { return sign("RS256", rsaKey(), header, payload) }
	for _, tc := range []struct{ name, token, check string }{
		{"empty", "", "format"},
		{"one part", parts[0], "format"},
		{"four parts", good + ".x", "format"},
		{"encrypted", strings.Join(parts, ".") + ".a.b", "format"},
		{"larger than 64 KiB", signed(tokenHeader, tokenClaims(map[string]any{"x": strings.Repeat("x", 64<<10)})), "format"},
		{"line break in signature", good[:len(good)-4] + "\n" + good[len(good)-4:], "format"},
		{"padded signature", good + "==", "format"},
		{"header no object", signed(`[]`, tokenClaims(nil)), "format"},
		{"header with a member twice", signed(`{"alg":"none","alg":"RS256","kid":"sig"}`, tokenClaims(nil)), "format"},
		{"claims an array", signed(tokenHeader, `[]`), "format"},
		{"claims null", signed(tokenHeader, `null`), "iss"},
		{"claims a string", signed(tokenHeader, `"x"`), "format"},
		{"claims with a member twice", signed(tokenHeader, `{"mitid.uuid":"x",`+tokenClaims(nil)[1:]), "format"},
		{"claims not UTF-8", signed(tokenHeader, strings.Replace(tokenClaims(nil), "Ingen", "\xff", 1)), "format"},
		{"access token", signed(`{"alg":"RS256","kid":"sig","typ":"at+jwt"}`, tokenClaims(nil)), "typ"},
		{"typ no string", signed(`{"alg":"RS256","kid":"sig","typ":1}`, tokenClaims(nil)), "typ"},
		{"critical extension", signed(`{"alg":"RS256","kid":"sig","crit":["b64"],"b64":true}`, tokenClaims(nil)), "crit"},
		{"no kid among many keys", signed(`{"alg":"RS256","typ":"JWT"}`, tokenClaims(nil)), "signature"},
		{"kid empty among many keys", signed(`{"alg":"RS256","kid":""}`, tokenClaims(nil)), "signature"},
		{"kid no string", signed(`{"alg":"RS256","kid":["sig"]}`, tokenClaims(nil)), "signature"},
		{"no alg", signed(`{"kid":"sig"}`, tokenClaims(nil)), "signature"},
		{"unsigned", parts[0] + "." + parts[1] + ".", "signature"},
		{"signature a byte short", parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(signature[:len(signature)-1]), "signature"},
		{"alg none", sign("none", jwt.UnsafeAllowNoneSignatureType, `{"alg":"none","kid":"sig"}`, tokenClaims(nil)), "signature"},
		{"alg HS256 with the client secret", sign("HS256", []byte(testSecret), `{"alg":"HS256","kid":"sig"}`, tokenClaims(nil)), "signature"},
		{"alg HS256 with the public key", sign("HS256", rsaKey().N.Bytes(), `{"alg":"HS256","kid":"sig"}`, tokenClaims(nil)), "signature"},
		{"expired and by a foreign key", sign("RS256", otherKey(), tokenHeader, tokenClaims(map[string]any{"exp": 1})), "signature"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, _ := verifier(t, nil)
			_, err := c.Verify(t.Context(), Tokens{IDToken: tc.token}, expected())
			wantCheck(t, err, tc.check)
		})
	}
}

// Which key makes a token good is the provider's to say, not the token's.
func TestClient_Verify_keys(t *testing.T) {
	header := func(alg, kid string) string { return `{"alg":"` + alg + `","kid":"` + kid + `"}` }
	own := jwk(otherKey(), "sig", "sig", "")
	for _, tc := range []struct {
		name   string
		alg    string
		key    any
		header string
		config func(*Config)
		ok     bool
	}{
		{name: "RS256", alg: "RS256", key: rsaKey(), header: header("RS256", "sig"), ok: true},
		{name: "RS512", alg: "RS512", key: rsaKey(), header: header("RS512", "sig"), ok: true},
		{name: "PS256", alg: "PS256", key: rsaKey(), header: header("PS256", "sig"), ok: true},
		{name: "ES256", alg: "ES256", key: ecKey(), header: header("ES256", "ec"), ok: true},
		{name: "ES384", alg: "ES384", key: ec384Key(), header: header("ES384", "ec384"), ok: true},
		{name: "EdDSA", alg: "EdDSA", key: edKey(), header: header("EdDSA", "ed"), ok: true},
		{name: "typ in small letters", alg: "RS256", key: rsaKey(), header: `{"alg":"RS256","kid":"sig","typ":"jwt"}`, ok: true},
		{name: "RS256 where PS256 is pinned", alg: "RS256", key: rsaKey(), header: header("RS256", "sig"), config: func(c *Config) { c.Algorithms = []string{"PS256"} }},
		{name: "encryption key", alg: "RS256", key: otherKey(), header: header("RS256", "enc")},
		{name: "foreign key under the provider's kid", alg: "RS256", key: otherKey(), header: header("RS256", "sig")},
		{name: "kid of another key", alg: "RS256", key: rsaKey(), header: header("RS256", "ec")},
		{name: "kid unknown", alg: "RS256", key: rsaKey(), header: header("RS256", "new")},
		{name: "key brought along", alg: "RS256", key: otherKey(), header: `{"alg":"RS256","kid":"sig","jwk":` + own + `,"jku":"https://evil.example/jwks","x5u":"https://evil.example/x5u","x5c":["AA=="]}`},
		{name: "own key named beside a harmless jwk", alg: "RS256", key: rsaKey(), header: `{"alg":"RS256","kid":"sig","jwk":` + own + `}`, ok: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, p := verifier(t, tc.config)
			_, err := c.Verify(t.Context(), Tokens{IDToken: sign(tc.alg, tc.key, tc.header, tokenClaims(nil))}, expected())
			if tc.ok {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantCheck(t, err, "signature")
			for _, r := range p.seen {
				if r.URL.Host != "op.example" {
					t.Errorf("client called %s, which only the token names", r.URL.Host)
				}
			}
		})
	}
}

func TestClient_Verify_singleKeyNeedsNoKid(t *testing.T) {
	p := newProvider(jwk(rsaKey(), "", "", ""))
	c := newClient(t, p, at(tokenTime))
	token := sign("RS256", rsaKey(), `{"alg":"RS256"}`, tokenClaims(nil))
	if _, err := c.Verify(t.Context(), Tokens{IDToken: token}, expected()); err != nil {
		t.Fatal(err)
	}
}

// A key is only good for the algorithm that its alg member names.
func TestClient_Verify_refusesOtherAlgorithmThanTheKeys(t *testing.T) {
	p := newProvider(jwk(rsaKey(), "sig", "", "PS256"))
	c := newClient(t, p, at(tokenTime))
	_, err := c.Verify(t.Context(), Tokens{IDToken: sign("RS256", rsaKey(), tokenHeader, tokenClaims(nil))}, expected())
	wantCheck(t, err, "signature")
}

func TestClient_Verify_comparesAccessToken(t *testing.T) {
	const access = "access token"
	s256, s384, s512 := sha256.Sum256([]byte(access)), sha512.Sum384([]byte(access)), sha512.Sum512([]byte(access))
	half := func(sum []byte) string { return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]) }
	for _, tc := range []struct {
		alg, kid, hash string
		key            any
	}{
		{"RS256", "sig", half(s256[:]), rsaKey()},
		{"ES384", "ec384", half(s384[:]), ec384Key()},
		{"PS512", "sig", half(s512[:]), rsaKey()},
		{"EdDSA", "ed", half(s512[:]), edKey()},
	} {
		t.Run(tc.alg, func(t *testing.T) {
			c, _ := verifier(t, nil)
			token := sign(tc.alg, tc.key, `{"alg":"`+tc.alg+`","kid":"`+tc.kid+`"}`, tokenClaims(map[string]any{"at_hash": tc.hash}))
			if _, err := c.Verify(t.Context(), Tokens{IDToken: token, AccessToken: access}, expected()); err != nil {
				t.Error(err)
			}
			_, err := c.Verify(t.Context(), Tokens{IDToken: token, AccessToken: access + "x"}, expected())
			wantCheck(t, err, "at_hash")
		})
	}
}

// The broker returns the nonce beside the tokens.
func TestClient_Verify_comparesNonceOfTheResponse(t *testing.T) {
	c, _ := verifier(t, nil)
	want := expected()
	want.Nonce = "n"
	tokens := Tokens{IDToken: sign("RS256", rsaKey(), tokenHeader, tokenClaims(nil)), Nonce: "n"}
	if _, err := c.Verify(t.Context(), tokens, want); err != nil {
		t.Error(err)
	}
	tokens.Nonce = "m"
	_, err := c.Verify(t.Context(), tokens, want)
	wantCheck(t, err, "nonce")
}

// Trouble on the way to the keys says nothing about the token, which may be
// verified again.
func TestClient_Verify_troubleWithKeysIsNoVerdict(t *testing.T) {
	tokens := Tokens{IDToken: sign("RS256", rsaKey(), tokenHeader, tokenClaims(nil))}
	for _, path := range []string{pathDiscovery, pathJWKS} {
		c, p := verifier(t, nil)
		p.on(path, 503, "")
		_, err := c.Verify(t.Context(), tokens, expected())
		wantKind(t, err, ErrUnavailable)
	}
	c, p := verifier(t, nil)
	p.handle(pathJWKS, hang)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Verify(ctx, tokens, expected()); err != context.Canceled {
		t.Errorf("cancelled call gave %v", err)
	}
}

func TestClient_Verify_needsAnAlgorithm(t *testing.T) {
	tokens := Tokens{IDToken: sign("RS256", rsaKey(), tokenHeader, tokenClaims(nil))}
	for _, listed := range []any{nil, []string{}, []string{"none", "HS256"}, "RS256"} {
		c, p := verifier(t, nil)
		p.on(pathDiscovery, 200, discovery(map[string]any{"id_token_signing_alg_values_supported": listed}))
		_, err := c.Verify(t.Context(), tokens, expected())
		wantKind(t, err, ErrConfiguration)
	}
}

func TestClient_Verify_errorsQuoteNothing(t *testing.T) {
	c, _ := verifier(t, nil)
	for name := range map[string]bool{"mitid.uuid": true, "mitid.reference_text": true, "iss": true, "aud": true, "sub": true, "idp": true} {
		_, err := c.Verify(t.Context(), Tokens{IDToken: sign("RS256", rsaKey(), tokenHeader, tokenClaims(map[string]any{name: "value-to-hide"}))}, expected())
		if err == nil && name != "sub" {
			t.Errorf("%s: accepted", name)
		}
		if err != nil && (strings.Contains(err.Error(), "value-to-hide") || strings.Contains(err.Error(), testUUID) || strings.Contains(err.Error(), testText)) {
			t.Errorf("%s: error quotes a value: %v", name, err)
		}
	}
}
