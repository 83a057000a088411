package cibatest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

func TestFault_replacesAnswersBeforeHandling(t *testing.T) {
	for _, tt := range []struct {
		name        string
		fault       Fault
		status      int
		contentType string
		retryAfter  string
		location    string
	}{
		{"status", Fault{Answer: AnswerStatus}, 503, "text/plain; charset=utf-8", "", ""},
		{"status with Retry-After", Fault{Answer: AnswerStatus, Status: 500, RetryAfter: "7"}, 500, "text/plain; charset=utf-8", "7", ""},
		{"HTML", Fault{Answer: AnswerHTML}, 200, "text/html; charset=utf-8", "", ""},
		{"HTML 502", Fault{Answer: AnswerHTML, Status: 502}, 502, "text/html; charset=utf-8", "", ""},
		{"redirect", Fault{Answer: AnswerRedirect}, 307, "text/plain; charset=utf-8", "", "/op/connect/token"},
		{"redirect 302", Fault{Answer: AnswerRedirect, Status: 302}, 302, "text/plain; charset=utf-8", "", "/op/connect/token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, Config{})
			id := start(t, s)
			must(t, s.Approve(id))
			tt.fault.Endpoint, tt.fault.Count = EndpointToken, 1
			s.Inject(tt.fault)
			r := poll(t, s, id)
			if r.status != tt.status || r.header.Get("Content-Type") != tt.contentType ||
				r.header.Get("Retry-After") != tt.retryAfter || r.header.Get("Location") != tt.location {
				t.Errorf("status %d, header %v", r.status, r.header)
			}
			if r.json != nil {
				t.Errorf("body is JSON: %s", r.body)
			}
			if got := s.Log()[1]; got.Status != tt.status || got.Error != "" {
				t.Errorf("log %v", got)
			}
			wantPoll(t, s, id, "") // nothing was spent, and no interval began
		})
	}
}

func TestFault_losesAnswersAfterHandling(t *testing.T) {
	for name, answer := range map[string]Answer{"status": AnswerStatus, "HTML": AnswerHTML, "redirect": AnswerRedirect} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, Config{})
			id := start(t, s)
			must(t, s.Approve(id))
			s.Inject(Fault{Endpoint: EndpointToken, Count: 1, Answer: answer, After: true})
			if r := poll(t, s, id); r.json != nil {
				t.Errorf("body is JSON: %s", r.body)
			}
			wantPoll(t, s, id, "invalid_grant")
		})
	}
}

func TestFault_drops(t *testing.T) {
	for _, after := range []bool{false, true} {
		s := newServer(t, Config{})
		s.Inject(Fault{Endpoint: EndpointStart, Answer: AnswerDrop, Count: 1, After: after})
		if _, err := send(t, s, formRequest(t, "/connect/ciba", startForm())); !errors.Is(err, errDropped) {
			t.Errorf("after %v: %v", after, err)
		}
		// Lost after handling, the phone has rung all the same.
		if got := len(s.Requests()); (got == 1) != after {
			t.Errorf("after %v: %d requests", after, got)
		}
		if got := s.Log()[0]; got.Status != 0 || got.Ended.IsZero() {
			t.Errorf("after %v: log %v", after, got)
		}
		start(t, s)
	}
}

func TestFault_brokenJSONIsAlmostTheAnswer(t *testing.T) {
	s := newServer(t, Config{})
	s.Inject(Fault{Endpoint: EndpointStart, Answer: AnswerBrokenJSON, Count: 1})
	r := post(t, s, "/connect/ciba", startForm())
	if r.status != http.StatusOK || json.Valid(r.body) || !json.Valid(append(r.body, '}')) {
		t.Errorf("status %d, body %s", r.status, r.body)
	}
	if got := len(s.Requests()); got != 1 {
		t.Errorf("%d requests", got)
	}
	s.Inject(Fault{Endpoint: EndpointCancel, Answer: AnswerBrokenJSON, Count: 1})
	if got := cancel(t, s, s.Requests()[0].ID); got != http.StatusNoContent {
		t.Errorf("cancel, which has no body: %d", got)
	}
}

func TestFault_oversizeIsTheAnswerForThoseWithoutLimit(t *testing.T) {
	s := newServer(t, Config{})
	s.Inject(Fault{Endpoint: EndpointDiscovery, Answer: AnswerOversize})
	r := get(t, s, testIssuer+"/.well-known/openid-configuration")
	if len(r.body) <= 1<<20 || r.json["issuer"] != testIssuer {
		t.Errorf("%d bytes, issuer %v", len(r.body), r.json["issuer"])
	}
	if strings.TrimSpace(string(r.body[:1<<20])) != "" {
		t.Error("the first MiB is not empty")
	}
}

func TestFault_latency(t *testing.T) {
	for _, after := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, Config{})
			id := start(t, s)
			s.Inject(Fault{Endpoint: EndpointToken, Latency: 10 * time.Second, After: after})
			time.AfterFunc(5*time.Second, func() { _ = s.Approve(id) })
			begin := time.Now()
			code := poll(t, s, id).code()
			if got := time.Since(begin); got != 10*time.Second {
				t.Errorf("after %v: %v", after, got)
			}
			if want := map[bool]string{false: "", true: "authorization_pending"}[after]; code != want {
				t.Errorf("after %v: error %q, want %q", after, code, want)
			}
		})
	}
}

func TestFault_latencyEndsWithTheCaller(t *testing.T) {
	for _, after := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, Config{})
			id := start(t, s)
			must(t, s.Approve(id))
			s.Inject(Fault{Endpoint: EndpointToken, Latency: time.Hour, Count: 1, After: after})
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			begin := time.Now()
			_, err := send(t, s, formRequest(t, "/connect/token", pollForm(id)).WithContext(ctx))
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
				t.Errorf("after %v: %v after %v", after, err, time.Since(begin))
			}
			if got := s.Log()[1]; got.Status != 0 || got.Ended.Sub(got.Started) != time.Second {
				t.Errorf("after %v: log %v", after, got)
			}
			wantPoll(t, s, id, map[bool]string{false: "", true: "invalid_grant"}[after])
		})
	}
}

func TestFault_matchesEndpointRequestAndCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{})
		a, b := start(t, s), start(t, s)
		s.Inject(Fault{Endpoint: EndpointToken, AuthReqID: a, Count: 2, Answer: AnswerStatus, Status: 500})
		remove := s.Inject(Fault{Endpoint: EndpointToken, Answer: AnswerStatus, Status: 502})
		var got []int
		for _, id := range []string{b, a, a, a, b} {
			got = append(got, poll(t, s, id).status)
		}
		if diff := cmp.Diff([]int{502, 500, 500, 502, 502}, got); diff != "" {
			t.Errorf("statuses (-want +got):\n%s", diff)
		}
		if got := cancel(t, s, b); got != http.StatusNoContent {
			t.Errorf("another endpoint: %d", got)
		}
		remove()
		remove()
		wantPoll(t, s, a, "authorization_pending")
	})
}

func TestTokenFault_waitsForTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{})
		a, b := start(t, s), start(t, s)
		s.Inject(Fault{Endpoint: EndpointToken, AuthReqID: b, Token: TokenWrongIss, Count: 1})
		wantPoll(t, s, b, "authorization_pending")
		time.Sleep(5 * time.Second)
		must(t, s.Approve(a))
		must(t, s.Approve(b))
		issuer := func(id string) any {
			_, claims := decode(t, wantPoll(t, s, id, "").json["id_token"])
			return claims["iss"]
		}
		if got := issuer(a); got != testIssuer {
			t.Errorf("another request: %v", got)
		}
		if got := issuer(b); got == testIssuer {
			t.Error("the fault did not happen")
		}
	})
}

// A test of a client's check proves nothing when another check would refuse the
// token too, so the rest of a spoilt token has to be right.
func TestTokenFault_changesOnlyOneThing(t *testing.T) {
	const now = 1_800_000_000
	for _, tt := range []struct {
		name   string
		fault  Fault
		alg    string
		signed bool // under the sig key that the kid names
		claim  string
		check  func(v any, present bool, r reply) bool
	}{
		{"foreign key", Fault{Token: TokenForeignKey}, "RS256", false, "", nil},
		{"enc key", Fault{Token: TokenEncKey}, "RS256", false, "", nil},
		{"none", Fault{Token: TokenAlgNone}, "none", false, "", nil},
		{"HS256", Fault{Token: TokenHS256}, "HS256", false, "", nil},
		{"aud", Fault{Token: TokenWrongAud}, "RS256", true, "aud", func(v any, _ bool, _ reply) bool {
			s, ok := v.(string)
			return ok && s != DemoClientID
		}},
		{"extra aud", Fault{Token: TokenExtraAud}, "RS256", true, "aud", func(v any, _ bool, _ reply) bool {
			list, ok := v.([]any)
			return ok && len(list) == 2 && list[0] == DemoClientID && list[1] != DemoClientID
		}},
		{"iss", Fault{Token: TokenWrongIss}, "RS256", true, "iss", func(v any, _ bool, _ reply) bool { return v != testIssuer }},
		{"uuid", Fault{Token: TokenWrongUUID}, "RS256", true, "mitid.uuid", func(v any, _ bool, _ reply) bool {
			return v != testUUID && uuidShape.MatchString(v.(string))
		}},
		{"text", Fault{Token: TokenWrongText}, "RS256", true, "mitid.reference_text", func(v any, _ bool, _ reply) bool {
			return v == "Betal 100 kr. 😉."
		}},
		{"expired", Fault{Token: TokenExpired}, "RS256", true, "exp", func(v any, _ bool, _ reply) bool { return v == float64(now-1) }},
		{"auth_time", Fault{Token: TokenEarlyAuthTime}, "RS256", true, "auth_time", func(v any, _ bool, _ reply) bool {
			return v == float64(now-3600)
		}},
		{"at_hash", Fault{Token: TokenWrongAtHash}, "RS256", true, "at_hash", func(v any, _ bool, r reply) bool {
			s, ok := v.(string)
			return ok && s != atHash(r.json["access_token"].(string))
		}},
		{"nonce", Fault{Token: TokenWrongNonce}, "RS256", true, "ciba_nonce", func(v any, _ bool, r reply) bool {
			return v == r.json["ciba_nonce"] && v != "n-1"
		}},
		{"missing claim", Fault{Token: TokenMissingClaim, Claim: "idp"}, "RS256", true, "idp", func(_ any, present bool, _ reply) bool {
			return !present
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, Config{Now: func() time.Time { return time.Unix(now, 0) }})
			form := with(startForm(), "login_hint_token", strings.TrimSuffix(testHint, "}")+`,"ciba_nonce":"n-1"}`)
			_, right := decode(t, collect(t, s, form).json["id_token"])
			tt.fault.Endpoint = EndpointToken
			s.Inject(tt.fault)
			r := collect(t, s, form)
			header, claims := decode(t, r.json["id_token"])

			if header["alg"] != tt.alg {
				t.Errorf("alg %v", header["alg"])
			}
			if err := verify(t, s, r.json["id_token"]); (err == nil) != tt.signed {
				t.Errorf("signature: %v", err)
			}
			// The access token of the same response is never touched.
			if err := verify(t, s, r.json["access_token"]); err != nil {
				t.Errorf("access token: %v", err)
			}
			v, present := claims[tt.claim]
			if tt.check != nil && !tt.check(v, present, r) {
				t.Errorf("%s = %v", tt.claim, v)
			}
			// These differ from one right token to the next.
			for _, name := range []string{tt.claim, "at_hash", "mitid.transaction_id", "idp_transaction_id"} {
				delete(right, name)
				delete(claims, name)
			}
			if diff := cmp.Diff(right, claims); diff != "" {
				t.Errorf("other claims changed (-right +got):\n%s", diff)
			}
		})
	}
}

func TestTokenFault_usesTheKeysThatItNames(t *testing.T) {
	s := newServer(t, Config{})
	spoilt := func(f TokenFault) (header map[string]any, token string) {
		remove := s.Inject(Fault{Endpoint: EndpointToken, Token: f})
		defer remove()
		token = collect(t, s, startForm()).json["id_token"].(string)
		header, _ = decode(t, token)
		return header, token
	}
	parse := func(token, alg string, k any) error {
		_, err := jwt.NewParser(jwt.WithValidMethods([]string{alg})).Parse(token, func(*jwt.Token) (any, error) { return k, nil })
		return err
	}

	header, token := spoilt(TokenEncKey)
	if err := parse(token, "RS256", publicKey(t, s, header["kid"].(string), "enc")); err != nil {
		t.Errorf("enc key: %v", err)
	}
	header, token = spoilt(TokenForeignKey)
	if publicKey(t, s, header["kid"].(string), "sig") == nil {
		t.Error("foreign key: its kid is not in the JWKS")
	}
	if err := parse(token, "RS256", &pooledKey(poolForeign).private.PublicKey); err != nil {
		t.Errorf("foreign key: %v", err)
	}
	_, token = spoilt(TokenHS256)
	if err := parse(token, "HS256", []byte(DemoClientSecret)); err != nil {
		t.Errorf("HS256: %v", err)
	}
	_, token = spoilt(TokenAlgNone)
	if err := parse(token, "none", jwt.UnsafeAllowNoneSignatureType); err != nil || !strings.HasSuffix(token, ".") {
		t.Errorf("none: %v", err)
	}
}

func TestInject_panicsOnFaultsThatMakeNoSense(t *testing.T) {
	s := newServer(t, Config{})
	for name, f := range map[string]Fault{
		"empty":                    {},
		"unknown endpoint":         {Endpoint: "userinfo", Answer: AnswerDrop},
		"nothing wrong":            {Endpoint: EndpointToken},
		"nothing wrong, but after": {Endpoint: EndpointToken, After: true},
		"negative count":           {Endpoint: EndpointToken, Answer: AnswerDrop, Count: -1},
		"negative latency":         {Endpoint: EndpointToken, Latency: -1},
		"unknown answer":           {Endpoint: EndpointToken, Answer: answers},
		"unknown token fault":      {Endpoint: EndpointToken, Token: tokenFaults},
		"both kinds":               {Endpoint: EndpointToken, Token: TokenWrongAud, Answer: AnswerDrop},
		"token from the start":     {Endpoint: EndpointStart, Token: TokenWrongAud},
		"missing claim unnamed":    {Endpoint: EndpointToken, Token: TokenMissingClaim},
		"claim of another fault":   {Endpoint: EndpointToken, Token: TokenWrongAud, Claim: "aud"},
		"status that is none":      {Endpoint: EndpointToken, Answer: AnswerStatus, Status: 99},
		"informational status":     {Endpoint: EndpointToken, Answer: AnswerStatus, Status: 103},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			s.Inject(f)
		})
	}
}
