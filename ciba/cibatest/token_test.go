package cibatest

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// publicKey finds a key in the JWKS, as a client does.
func publicKey(t *testing.T, s *Server, kid, use string) *rsa.PublicKey {
	t.Helper()
	var set struct{ Keys []jwk }
	must(t, json.Unmarshal(get(t, s, testIssuer+"/.well-known/openid-configuration/jwks").body, &set))
	for _, k := range set.Keys {
		if k.Kid == kid && k.Use == use {
			n, err := base64.RawURLEncoding.DecodeString(k.N)
			must(t, err)
			e, err := base64.RawURLEncoding.DecodeString(k.E)
			must(t, err)
			return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
		}
	}
	return nil
}

// decode parses a token without looking at its signature.
func decode(t *testing.T, token any) (header, claims map[string]any) {
	t.Helper()
	parsed, _, err := jwt.NewParser().ParseUnverified(token.(string), jwt.MapClaims{})
	must(t, err)
	return parsed.Header, parsed.Claims.(jwt.MapClaims)
}

// verify checks a signature against the key of the JWKS that the token names.
func verify(t *testing.T, s *Server, token any) error {
	t.Helper()
	header, _ := decode(t, token)
	k := publicKey(t, s, fmt.Sprint(header["kid"]), "sig")
	if k == nil {
		return fmt.Errorf("no signing key %v", header["kid"])
	}
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithoutClaimsValidation()).
		Parse(token.(string), func(*jwt.Token) (any, error) { return k, nil })
	return err
}

// collect runs a request to its tokens. It is for bubbles.
func collect(t *testing.T, s *Server, form url.Values) reply {
	t.Helper()
	id := startWith(t, s, form)
	must(t, s.Approve(id))
	return wantPoll(t, s, id, "")
}

func TestTokens_haveTheRecordedShape(t *testing.T) {
	s := newServer(t, Config{})
	got := collect(t, s, startForm())

	raw, err := os.ReadFile("../testdata/token-response.json")
	must(t, err)
	var want map[string]any
	must(t, json.Unmarshal(raw, &want))
	if diff := cmp.Diff(kinds(want), kinds(got.json)); diff != "" {
		t.Errorf("response (-want +got):\n%s", diff)
	}
	for _, name := range []string{"expires_in", "token_type", "scope"} {
		if got.json[name] != want[name] {
			t.Errorf("%s = %v, want %v", name, got.json[name], want[name])
		}
	}
	for _, name := range []string{"id_token", "access_token"} {
		wantHeader, wantClaims := decode(t, want[name])
		gotHeader, gotClaims := decode(t, got.json[name])
		ignoreKid := cmpopts.IgnoreMapEntries(func(k string, _ any) bool { return k == "kid" })
		if diff := cmp.Diff(wantHeader, gotHeader, ignoreKid); diff != "" {
			t.Errorf("%s header (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(kinds(wantClaims), kinds(gotClaims)); diff != "" {
			t.Errorf("%s claims (-want +got):\n%s", name, diff)
		}
		if err := verify(t, s, got.json[name]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if lifetime, want := gotClaims["exp"].(float64)-gotClaims["iat"].(float64), wantClaims["exp"].(float64)-wantClaims["iat"].(float64); lifetime != want {
			t.Errorf("%s lives for %v s, want %v s", name, lifetime, want)
		}
	}
	if got := got.header.Get("Cache-Control"); !strings.Contains(got, "no-store") {
		t.Errorf("Cache-Control %q", got)
	}
}

// The hash in the recording comes from the broker: it pins how at_hash is made.
func TestATHash_isTheRecordedOne(t *testing.T) {
	raw, err := os.ReadFile("../testdata/token-response.json")
	must(t, err)
	var recorded map[string]any
	must(t, json.Unmarshal(raw, &recorded))
	_, claims := decode(t, recorded["id_token"])
	if got := atHash(recorded["access_token"].(string)); got != claims["at_hash"] {
		t.Errorf("at_hash = %s, want %v", got, claims["at_hash"])
	}
}

func TestTokens_sayWhatWasAskedAndApproved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{})
		hint := strings.Replace(testHint, testUUID, strings.ToUpper(testUUID), 1)
		hint = strings.TrimSuffix(hint, "}") + `,"ciba_nonce":"n-1"}`
		id := startWith(t, s, with(startForm(), "login_hint_token", hint))
		time.Sleep(20 * time.Second)
		approved := time.Now().Unix()
		must(t, s.Approve(id))
		time.Sleep(10 * time.Second)
		issued := time.Now().Unix()
		r := wantPoll(t, s, id, "")

		_, claims := decode(t, r.json["id_token"])
		want := map[string]any{
			"iss":                  testIssuer,
			"aud":                  DemoClientID,
			"iat":                  float64(issued),
			"nbf":                  float64(issued),
			"exp":                  float64(issued + 300),
			"auth_time":            float64(approved),
			"at_hash":              atHash(r.json["access_token"].(string)),
			"idp":                  "mitid",
			"idtoken_type":         "ciba",
			"mitid.uuid":           strings.ToUpper(testUUID),
			"mitid.reference_text": "Betal 100 kr. 😉",
		}
		for name, value := range want {
			if claims[name] != value {
				t.Errorf("%s = %v, want %v", name, claims[name], value)
			}
		}
		if claims["idp_transaction_id"] != claims["mitid.transaction_id"] {
			t.Error("the two transaction ids differ")
		}
		// The nonce comes back beside the tokens, not in the ID token.
		if _, ok := claims["ciba_nonce"]; ok || r.json["ciba_nonce"] != "n-1" {
			t.Errorf("ciba_nonce in the claims: %v, in the response: %v", ok, r.json["ciba_nonce"])
		}
	})
}

func TestTokens_subjectIsOnePersonsPseudonym(t *testing.T) {
	s := newServer(t, Config{})
	subject := func(hint string) any {
		_, claims := decode(t, collect(t, s, with(startForm(), "login_hint_token", hint)).json["id_token"])
		return claims["sub"]
	}
	a, b := subject(testHint), subject(strings.Replace(testHint, testUUID, strings.ToUpper(testUUID), 1))
	other := subject(strings.Replace(testHint, testUUID, "00000000-0000-4000-8000-000000000000", 1))
	if a != b || a == other || a == testUUID {
		t.Errorf("subjects %v, %v, of another person %v", a, b, other)
	}
}

func TestTransactionToken_isSignedByItsOwnKey(t *testing.T) {
	s := newServer(t, Config{})
	r := collect(t, s, with(startForm(), "scope", "openid transaction_token"))
	header, claims := decode(t, r.json["transaction_token"])
	idHeader, _ := decode(t, r.json["id_token"])
	if header["kid"] == idHeader["kid"] {
		t.Error("the same key signed both tokens")
	}
	if err := verify(t, s, r.json["transaction_token"]); err != nil {
		t.Error(err)
	}
	if claims["mitid.reference_text"] != "Betal 100 kr. 😉" || claims["idtoken_type"] != nil {
		t.Errorf("claims %v", claims)
	}
	if r.json["scope"] != "openid mitid transaction_token" {
		t.Errorf("scope %v", r.json["scope"])
	}
}

func TestTokenClaims_mayChangeClaimsAndAskTheServer(t *testing.T) {
	var s *Server
	s = newServer(t, Config{TokenClaims: func(claims map[string]any, r Request) {
		claims["loa"] = "substantial"
		claims["requests"] = len(s.Requests())
		claims["state"] = r.State
		delete(claims, "idp")
	}})
	_, claims := decode(t, collect(t, s, startForm()).json["id_token"])
	if claims["loa"] != "substantial" || claims["idp"] != nil || claims["requests"] != 1.0 || claims["state"] != "collected" {
		t.Errorf("claims %v", claims)
	}
}

func TestPoll_checksParameters(t *testing.T) {
	s := newServer(t, Config{})
	id := start(t, s)
	for _, tt := range []struct {
		name string
		form url.Values
		want string
	}{
		{"no grant type", with(pollForm(id), "grant_type"), "invalid_request"},
		{"another grant type", with(pollForm(id), "grant_type", "refresh_token"), "unsupported_grant_type"},
		{"no auth_req_id", with(pollForm(id), "auth_req_id"), "invalid_request"},
		{"unknown auth_req_id", with(pollForm(id), "auth_req_id", id+"1"), "invalid_grant"},
		{"no scope", with(pollForm(id), "scope"), "authorization_pending"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if r := post(t, s, "/connect/token", tt.form); r.status != 400 || r.code() != tt.want {
				t.Errorf("status %d, error %q, want %q", r.status, r.code(), tt.want)
			}
		})
	}
}

func TestPoll_tooEarlySlowsDownForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{})
		id := start(t, s)
		wantPoll(t, s, id, "authorization_pending") // the first is free
		time.Sleep(5 * time.Second)
		wantPoll(t, s, id, "authorization_pending")
		time.Sleep(5*time.Second - 1)
		wantPoll(t, s, id, "slow_down") // interval 10 s from here
		time.Sleep(10*time.Second - 1)
		wantPoll(t, s, id, "slow_down") // 15 s
		time.Sleep(15 * time.Second)
		wantPoll(t, s, id, "authorization_pending")
		time.Sleep(10 * time.Second)
		wantPoll(t, s, id, "slow_down") // 20 s; it never shrinks
		must(t, s.Approve(id))
		wantPoll(t, s, id, "slow_down") // 25 s; impatience is not rewarded
		time.Sleep(25 * time.Second)
		wantPoll(t, s, id, "")

		// Another request has its own interval.
		other := start(t, s)
		wantPoll(t, s, other, "authorization_pending")
		time.Sleep(5 * time.Second)
		wantPoll(t, s, other, "authorization_pending")
	})
}

func TestPoll_intervalCountsFromTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{})
		id := start(t, s)
		s.Inject(Fault{Endpoint: EndpointToken, Latency: 3 * time.Second, Count: 1, After: true})
		wantPoll(t, s, id, "authorization_pending")
		time.Sleep(4 * time.Second) // 7 s after the poll was sent
		wantPoll(t, s, id, "slow_down")
	})
}

func TestFinalAnswers_comeOnce(t *testing.T) {
	for _, tt := range []struct {
		name  string
		end   func(*Server, string) error
		code  string
		state State
	}{
		{"approved", (*Server).Approve, "", StateCollected},
		{"denied", (*Server).Deny, "access_denied", StateDenied},
		{"failed", func(s *Server, id string) error {
			return s.Fail(id, "mitid_flex_app.mitid_error_APP001")
		}, "mitid_flex_app.mitid_error_APP001", StateFailed},
		{"expired", func(*Server, string) error { time.Sleep(300 * time.Second); return nil }, "expired_token", StateExpired},
		{"approved and then expired", func(s *Server, id string) error {
			defer time.Sleep(300 * time.Second)
			return s.Approve(id)
		}, "expired_token", StateExpired},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, Config{})
				id := start(t, s)
				must(t, tt.end(s, id))
				wantPoll(t, s, id, tt.code)
				wantPoll(t, s, id, "invalid_grant") // even at once
				time.Sleep(time.Minute)
				wantPoll(t, s, id, "invalid_grant")
				if got := s.Requests()[0].State; got != tt.state {
					t.Errorf("state %s, want %s", got, tt.state)
				}
			})
		})
	}
}

func TestExpiry_isExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{ExpiresIn: 10 * time.Second})
		id := start(t, s)
		time.Sleep(10*time.Second - 1)
		if got := s.Requests()[0].State; got != StateWaiting {
			t.Errorf("before: %s", got)
		}
		time.Sleep(1)
		if got := s.Requests()[0].State; got != StateExpired {
			t.Errorf("after: %s", got)
		}
		wantPoll(t, s, id, "expired_token")
	})
}

func TestRotateKey_replacesTheSigningKey(t *testing.T) {
	s := newServer(t, Config{})
	before := collect(t, s, startForm()).json["id_token"]
	s.RotateKey()
	after := collect(t, s, startForm()).json["id_token"]
	if err := verify(t, s, before); err == nil {
		t.Error("the old key is still in the JWKS")
	}
	if err := verify(t, s, after); err != nil {
		t.Errorf("the new key: %v", err)
	}
	s.RotateKey()
	if err := verify(t, s, after); err == nil {
		t.Error("the second rotation did nothing")
	}
}

func TestLog_provesIntervalsAndOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{})
		begin := time.Now()
		id := start(t, s)
		s.Inject(Fault{Endpoint: EndpointToken, Latency: 2 * time.Second})
		first := make(chan struct{})
		req := formRequest(t, "/connect/token", pollForm(id))
		go func() {
			defer close(first)
			_, _ = s.Transport().RoundTrip(req)
		}()
		time.Sleep(time.Second)
		if got := s.Log()[1]; !got.Ended.IsZero() {
			t.Errorf("the first poll has ended: %v", got)
		}
		poll(t, s, id)
		<-first
		at := func(d time.Duration) time.Time { return begin.Add(d) }
		want := []Call{
			{EndpointStart, id, at(0), at(0), 200, ""},
			{EndpointToken, id, at(0), at(2 * time.Second), 400, "authorization_pending"},
			{EndpointToken, id, at(time.Second), at(3 * time.Second), 400, "slow_down"},
		}
		if diff := cmp.Diff(want, s.Log()); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

func TestServer_givesTokensOnceUnderConcurrency(t *testing.T) {
	s := newServer(t, Config{})
	id := start(t, s)
	must(t, s.Approve(id))
	const pollers = 16
	codes := make(chan string, pollers)
	for range pollers {
		req := formRequest(t, "/connect/token", pollForm(id))
		go func() {
			resp, err := s.Transport().RoundTrip(req)
			if err != nil {
				codes <- err.Error()
				return
			}
			var body struct{ Error string }
			_ = json.NewDecoder(resp.Body).Decode(&body)
			if resp.StatusCode == http.StatusOK {
				body.Error = "tokens"
			}
			codes <- body.Error
		}()
		go func() { s.Requests(); s.Log() }()
	}
	go s.RotateKey()
	count := make(map[string]int)
	for range pollers {
		count[<-codes]++
	}
	if count["tokens"] != 1 || count["invalid_grant"] != pollers-1 {
		t.Errorf("answers %v", count)
	}
}
