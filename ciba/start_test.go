package ciba

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestClient_Start(t *testing.T) {
	p := newProvider()
	p.on(pathStart, 200, `{"auth_req_id":"`+testID+`","expires_in":120,"interval":3,"authentication_uri":"https://x.example"}`)
	c := newClient(t, p, func(c *Config) {
		at(tokenTime)(c)
		c.Scope = "openid mitid"
	})
	got, err := c.Start(t.Context(), Request{
		LoginHintToken:  `{"idp":"mitid"}`,
		ACRValues:       []string{"a", "b"},
		BindingMessage:  "æ",
		RequestedExpiry: 2 * time.Minute,
		Extra:           url.Values{"max_age": {"0"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Started{AuthReqID: testID, ExpiresIn: 2 * time.Minute, Interval: 3 * time.Second, SentAt: tokenTime}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	r := p.last()
	if diff := cmp.Diff(url.Values{
		"grant_type":       {"urn:openid:params:grant-type:ciba"},
		"scope":            {"openid mitid"},
		"login_hint_token": {`{"idp":"mitid"}`},
		"acr_values":       {"a b"},
		"binding_message":  {"æ"},
		"requested_expiry": {"120"},
		"max_age":          {"0"},
		"client_id":        {testClient},
		"client_secret":    {testSecret},
	}, r.form); diff != "" {
		t.Errorf("form (-want +got):\n%s", diff)
	}
	if got := r.Header.Get("Content-Type"); got != "application/x-www-form-urlencoded" {
		t.Errorf("content type %q", got)
	}
	if got := r.Header.Get("Accept"); got != "application/json" {
		t.Errorf("accept %q", got)
	}
}

func TestClient_Start_refusesRequestsThatCIBADoesNotAllow(t *testing.T) {
	hint := func(change func(*Request)) Request {
		r := Request{LoginHintToken: "x"}
		change(&r)
		return r
	}
	for _, tc := range []struct {
		name string
		r    Request
		ok   bool
	}{
		{name: "no hint"},
		{name: "two hints", r: Request{LoginHintToken: "x", LoginHint: "y"}},
		{name: "two other hints", r: Request{IDTokenHint: "x", LoginHint: "y"}},
		{name: "id_token_hint", r: Request{IDTokenHint: "x"}, ok: true},
		{name: "login_hint", r: Request{LoginHint: "x"}, ok: true},
		{name: "hint not UTF-8", r: Request{LoginHint: "\xff"}},
		{name: "scope without openid", r: hint(func(r *Request) { r.Scope = "mitid" })},
		{name: "scope", r: hint(func(r *Request) { r.Scope = "openid x" }), ok: true},
		{name: "notification token of 1025 characters", r: hint(func(r *Request) { r.ClientNotificationToken = strings.Repeat("x", 1025) })},
		{name: "notification token of 1024 characters", r: hint(func(r *Request) { r.ClientNotificationToken = strings.Repeat("x", 1024) }), ok: true},
		{name: "notification token with space", r: hint(func(r *Request) { r.ClientNotificationToken = "a b" })},
		{name: "notification token with padding inside", r: hint(func(r *Request) { r.ClientNotificationToken = "a=b" })},
		{name: "notification token of padding", r: hint(func(r *Request) { r.ClientNotificationToken = "==" })},
		{name: "notification token padded", r: hint(func(r *Request) { r.ClientNotificationToken = "aZ09-._~+/==" }), ok: true},
		{name: "expiry of half a second", r: hint(func(r *Request) { r.RequestedExpiry = 1500 * time.Millisecond })},
		{name: "expiry negative", r: hint(func(r *Request) { r.RequestedExpiry = -time.Second })},
		{name: "extra that replaces the hint", r: hint(func(r *Request) { r.Extra = url.Values{"login_hint_token": {"y"}} })},
		{name: "extra that adds a hint", r: hint(func(r *Request) { r.Extra = url.Values{"login_hint": {"y"}} })},
		{name: "extra that replaces the secret", r: hint(func(r *Request) { r.Extra = url.Values{"client_secret": {"y"}} })},
		{name: "extra that adds an assertion", r: hint(func(r *Request) { r.Extra = url.Values{"client_assertion": {"y"}} })},
		{name: "extra that brings a signed request", r: hint(func(r *Request) { r.Extra = url.Values{"request": {"y"}} })},
		{name: "extra that brings a user code", r: hint(func(r *Request) { r.Extra = url.Values{"user_code": {"y"}} })},
		{name: "extra that the authentication sets", r: hint(func(r *Request) { r.Extra = url.Values{"proof": {"y"}} })},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newProvider()
			p.on(pathStart, 200, acknowledged)
			_, err := newClient(t, p, func(c *Config) {
				c.Auth = authFunc(func(form url.Values) error { form.Set("proof", "x"); return nil })
			}).Start(t.Context(), tc.r)
			if tc.ok {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantKind(t, err, ErrConfiguration)
			if p.count(pathStart) != 0 {
				t.Error("the request was sent all the same")
			}
		})
	}
}

// Every name that a request sets is kept from Extra.
func TestRequest_reservesItsOwnParameters(t *testing.T) {
	form, err := Request{LoginHintToken: "x", ClientNotificationToken: "x", ACRValues: []string{"x"}, BindingMessage: "x", UserCode: "x", RequestedExpiry: time.Second}.form("openid")
	if err != nil {
		t.Fatal(err)
	}
	for name := range form {
		if !reserved[name] {
			t.Errorf("%s is not reserved", name)
		}
	}
}

func TestClient_Start_acknowledgement(t *testing.T) {
	ack := func(id, expires, interval string) string {
		return `{"auth_req_id":` + id + `,"expires_in":` + expires + `,"interval":` + interval + `}`
	}
	for _, tc := range []struct {
		name, body        string
		expires, interval time.Duration // 0: refused
	}{
		{"as the broker's", acknowledged, 300 * time.Second, 5 * time.Second},
		{"without interval", `{"auth_req_id":"a","expires_in":300}`, 300 * time.Second, 5 * time.Second},
		{"interval of the conformance suite", ack(`"a"`, `300`, `31`), 300 * time.Second, 31 * time.Second},
		{"interval zero", ack(`"a"`, `300`, `0`), 300 * time.Second, 5 * time.Second},
		{"interval negative", ack(`"a"`, `300`, `-1`), 300 * time.Second, 5 * time.Second},
		{"interval null", ack(`"a"`, `300`, `null`), 300 * time.Second, 5 * time.Second},
		{"interval fractional", ack(`"a"`, `300`, `2.2`), 300 * time.Second, 3 * time.Second},
		{"interval huge", ack(`"a"`, `300`, `1e300`), 300 * time.Second, 5 * time.Minute},
		{"numbers as strings", ack(`"a"`, `"300"`, `"7"`), 300 * time.Second, 7 * time.Second},
		{"expiry fractional", ack(`"a"`, `2.9`, `1`), 2 * time.Second, time.Second},
		{"expiry huge", ack(`"a"`, `1e300`, `1`), 24 * time.Hour, time.Second},
		{"longest id", ack(`"`+strings.Repeat("a", 4096)+`"`, `300`, `5`), 300 * time.Second, 5 * time.Second},
		{"id too long", ack(`"`+strings.Repeat("a", 4097)+`"`, `300`, `5`), 0, 0},
		{"id missing", `{"expires_in":300,"interval":5}`, 0, 0},
		{"id empty", ack(`""`, `300`, `5`), 0, 0},
		{"id a number", ack(`1`, `300`, `5`), 0, 0},
		{"id null", ack(`null`, `300`, `5`), 0, 0},
		{"id with slash", ack(`"a/b"`, `300`, `5`), 0, 0},
		{"id two dots", ack(`".."`, `300`, `5`), 0, 0},
		{"id twice", `{"auth_req_id":"a","auth_req_id":"b","expires_in":300}`, 0, 0},
		{"id in another case", `{"Auth_Req_ID":"a","expires_in":300}`, 0, 0},
		{"expiry missing", `{"auth_req_id":"a","interval":5}`, 0, 0},
		{"expiry zero", ack(`"a"`, `0`, `5`), 0, 0},
		{"expiry negative", ack(`"a"`, `-300`, `5`), 0, 0},
		{"expiry no number", ack(`"a"`, `"soon"`, `5`), 0, 0},
		{"expiry overflows", ack(`"a"`, `1e999`, `5`), 0, 0},
		{"HTML", `<html>`, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newProvider()
			p.on(pathStart, 200, tc.body)
			got, err := newClient(t, p, nil).Start(t.Context(), Request{LoginHint: "x"})
			if tc.expires == 0 {
				wantKind(t, err, ErrUnavailable)
				if p.count(pathStart) != 1 {
					t.Error("the request was sent again")
				}
				return
			}
			if err != nil || got.ExpiresIn != tc.expires || got.Interval != tc.interval {
				t.Errorf("got %v, error %v; want %v and %v", got, err, tc.expires, tc.interval)
			}
		})
	}
}

func TestClient_Start_errors(t *testing.T) {
	for code, kind := range map[string]error{
		"unknown_user_id":                 ErrUnknownUser,
		"expired_login_hint_token":        ErrUnknownUser,
		"expired_id_token_hint":           ErrUnknownUser,
		"invalid_id_token_hint":           ErrUnknownUser,
		"access_denied":                   ErrDenied,
		"invalid_request":                 ErrConfiguration,
		"invalid_client":                  ErrConfiguration,
		"unauthorized_client":             ErrConfiguration,
		"unsupported_grant_type":          ErrConfiguration,
		"invalid_scope":                   ErrConfiguration,
		"invalid_binding_message":         ErrConfiguration,
		"missing_user_code":               ErrConfiguration,
		"invalid_user_code":               ErrConfiguration,
		"server_error":                    ErrUnavailable,
		"temporarily_unavailable":         ErrUnavailable,
		"mitid_flex_app.mitid_error_X001": ErrProvider,
		"authorization_pending":           ErrProvider,
	} {
		for _, status := range []int{200, 400, 401, 403} {
			p := newProvider()
			p.on(pathStart, status, `{"error":"`+code+`","error_description":"why\nnot"}`)
			e := wantKind(t, start(t, newClient(t, p, nil)), kind)
			if e.Code != code || e.Status != status || e.Description != "why not" || e.Endpoint != "backchannel authentication" {
				t.Errorf("%s: got %+v", code, *e)
			}
			if strings.Contains(e.Error(), "why") {
				t.Errorf("error quotes the description: %v", e)
			}
		}
	}
}

// Each start rings somebody's phone.
func TestClient_Start_isNeverRepeated(t *testing.T) {
	for name, f := range map[string]func(request) reply{
		"server error":    func(request) reply { return reply{status: 503, header: http.Header{"Retry-After": {"1"}}} },
		"connection lost": func(request) reply { return reply{err: errors.New("reset")} },
		"redirect": func(request) reply {
			return reply{status: 307, header: http.Header{"Location": {testIssuer + "/connect/ciba"}}}
		},
		"silence": hang,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProvider()
				p.handle(pathStart, func(r request) reply {
					// What net/http would need to send it again.
					if r.GetBody != nil || r.Header.Get("Idempotency-Key") != "" || r.Header.Get("X-Idempotency-Key") != "" {
						t.Error("net/http could send the request again")
					}
					return f(r)
				})
				before := time.Now()
				wantKind(t, start(t, newClient(t, p, nil)), ErrUnavailable)
				if n := p.count(pathStart); n != 1 {
					t.Errorf("the request was sent %d times", n)
				}
				if took := time.Since(before); name == "silence" && took != 20*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// authFunc authenticates in some way of its own.
type authFunc func(form url.Values) error

func (f authFunc) Authenticate(_ context.Context, issuer, clientID string, form url.Values, _ http.Header) error {
	if issuer != testIssuer || clientID != testClient {
		return errors.New("issuer or client id is wrong")
	}
	return f(form)
}

func TestClient_Start_authentication(t *testing.T) {
	t.Run("basic", func(t *testing.T) {
		p := newProvider()
		p.on(pathStart, 200, acknowledged)
		c := newClient(t, p, func(c *Config) {
			c.ClientID = "client:1"
			c.Auth = ClientSecretBasic(testSecret)
		})
		if err := start(t, c); err != nil {
			t.Fatal(err)
		}
		r := p.last()
		// RFC 6749 §2.3.1: both are form-encoded first.
		user, pass, _ := r.BasicAuth()
		if user != "client%3A1" || pass != "s3cr%3At+%2B%2F%3D" {
			t.Errorf("user %q, password %q", user, pass)
		}
		if r.form.Has("client_secret") || r.form.Has("client_id") {
			t.Error("credentials are in the form too")
		}
	})
	t.Run("fails", func(t *testing.T) {
		p := newProvider()
		p.on(pathStart, 200, acknowledged)
		why := errors.New("no key")
		for _, tc := range []struct{ err, kind error }{
			{why, ErrConfiguration},
			{&Error{Kind: ErrUnavailable, Endpoint: "signer"}, ErrUnavailable},
		} {
			err := start(t, newClient(t, p, func(c *Config) { c.Auth = authFunc(func(url.Values) error { return tc.err }) }))
			wantKind(t, err, tc.kind)
			if tc.err == why && !errors.Is(err, why) {
				t.Error("cause is lost")
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		c := newClient(t, p, func(c *Config) {
			c.Auth = authFunc(func(url.Values) error { cancel(); return errors.New("signer: context canceled") })
		})
		if _, err := c.Start(ctx, Request{LoginHint: "x"}); err != context.Canceled {
			t.Errorf("cancelled call gave %v", err)
		}
		if n := p.count(pathStart); n != 0 {
			t.Errorf("%d requests were sent unauthenticated", n)
		}
	})
}

// Requests carry what they are asked to and nothing besides.
func TestClient_Start_sendsNoOtherHeaders(t *testing.T) {
	p := newProvider()
	p.on(pathStart, 200, acknowledged)
	if err := start(t, newClient(t, p, nil)); err != nil {
		t.Fatal(err)
	}
	for name := range p.last().Header {
		if !slices.Contains([]string{"Accept", "Content-Type"}, name) {
			t.Errorf("header %s", name)
		}
	}
}
