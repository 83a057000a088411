package ciba

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// poll makes one poll that the provider answers so.
func poll(t *testing.T, status int, header http.Header, body string) (Tokens, error) {
	t.Helper()
	p := newProvider()
	p.handle(pathToken, func(request) reply { return reply{status: status, header: header, body: body} })
	tokens, err := newClient(t, p, at(tokenTime)).Poll(t.Context(), testID)
	if n := p.count(pathToken); n != 1 {
		t.Errorf("%d token requests, want exactly one", n)
	}
	if err != nil && tokens != (Tokens{}) {
		t.Error("tokens came with an error")
	}
	return tokens, err
}

func TestClient_Poll_request(t *testing.T) {
	p := newProvider()
	p.on(pathToken, 400, `{"error":"authorization_pending"}`)
	_, err := newClient(t, p, nil).Poll(t.Context(), testID)
	wantKind(t, err, ErrPending)
	if diff := cmp.Diff(url.Values{
		"grant_type":    {"urn:openid:params:grant-type:ciba"},
		"scope":         {"openid"},
		"auth_req_id":   {testID},
		"client_id":     {testClient},
		"client_secret": {testSecret},
	}, p.last().form); diff != "" {
		t.Errorf("form (-want +got):\n%s", diff)
	}
	if p.last().GetBody != nil {
		t.Error("net/http could send the request again")
	}
}

func TestClient_Poll_tokens(t *testing.T) {
	all := Tokens{IDToken: "i", AccessToken: "a", TokenType: "Bearer", Scope: "openid mitid", ExpiresIn: time.Hour, TransactionToken: "t", Nonce: "n"}
	for _, tc := range []struct {
		name, body string
		want       Tokens
	}{
		{"everything", `{"id_token":"i","access_token":"a","token_type":"Bearer","scope":"openid mitid","expires_in":3600,"transaction_token":"t","ciba_nonce":"n","more":[{}]}`, all},
		{"without scope and expires_in", `{"id_token":"i","access_token":"a","token_type":"Bearer"}`, Tokens{IDToken: "i", AccessToken: "a", TokenType: "Bearer"}},
		{"expires_in as string", `{"id_token":"i","expires_in":"60"}`, Tokens{IDToken: "i", ExpiresIn: time.Minute}},
		{"expires_in without sense", `{"id_token":"i","expires_in":[],"scope":["openid"]}`, Tokens{IDToken: "i"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := poll(t, 200, nil, tc.body)
			if err != nil {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Error("tokens differ")
			}
		})
	}
}

// The final answer has come, and is no good.
func TestClient_Poll_finalAnswerWithoutIDToken(t *testing.T) {
	for body, check := range map[string]string{
		`{}`:                                "id_token",
		`{"access_token":"a"}`:              "id_token",
		`{"id_token":""}`:                   "id_token",
		`{"id_token":null}`:                 "id_token",
		`{"id_token":["i"]}`:                "id_token",
		`{"ID_Token":"i"}`:                  "id_token",
		`{"id_token":"i","access_token":1}`: "access_token",
	} {
		_, err := poll(t, 200, nil, body)
		wantCheck(t, err, check)
	}
}

// The error member decides, not the status (CIBA Core 1.0 §11).
func TestClient_Poll_errors(t *testing.T) {
	for code, kind := range map[string]error{
		"authorization_pending":             ErrPending,
		"slow_down":                         ErrSlowDown,
		"access_denied":                     ErrDenied,
		"expired_token":                     ErrExpired,
		"invalid_grant":                     ErrSpent,
		"invalid_request":                   ErrConfiguration,
		"invalid_client":                    ErrConfiguration,
		"unauthorized_client":               ErrConfiguration,
		"unsupported_grant_type":            ErrConfiguration,
		"invalid_scope":                     ErrConfiguration,
		"server_error":                      ErrUnavailable,
		"temporarily_unavailable":           ErrUnavailable,
		"mitid_flex_app.mitid_error_APP001": ErrProvider,
		"transaction_failed":                ErrProvider,
	} {
		for _, status := range []int{200, 400, 401, 403, 429, 500, 503} {
			want := kind
			if kind == ErrProvider && status >= 429 {
				want = ErrUnavailable // who knows whose code that is
			}
			_, err := poll(t, status, nil, `{"error":"`+code+`","id_token":"i"}`)
			e := wantKind(t, err, want)
			if e.Code != code || e.Status != status || e.Endpoint != "token" {
				t.Errorf("%s with %d: got %+v", code, status, *e)
			}
		}
	}
}

func TestClient_Poll_noAnswer(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int
		body   string
	}{
		{"server error", 500, ""},
		{"bad gateway", 502, "<html>"},
		{"success with server error", 503, `{"id_token":"i"}`},
		{"success with 400", 400, `{"id_token":"i"}`},
		{"too many requests", 429, ""},
		{"HTML", 200, "<html>"},
		{"empty", 200, ""},
		{"broken JSON", 200, `{"id_token":"i"`},
		{"broken name", 200, `{"id_token":"i",x}`},
		{"broken value", 200, `{"id_token":}`},
		{"two documents", 200, `{"id_token":"i"}{"error":"access_denied"}`},
		{"member twice", 200, `{"id_token":"i","id_token":"j"}`},
		{"member twice by escape", 200, `{"id_token":"i","id\u005ftoken":"j"}`},
		{"array", 200, `[{"id_token":"i"}]`},
		{"not UTF-8", 200, "{\"id_token\":\"i\",\"x\":\"\xff\"}"},
		{"error null", 200, `{"id_token":"i","error":null}`},
		{"error empty", 200, `{"id_token":"i","error":""}`},
		{"error no string", 400, `{"error":{"code":1}}`},
		{"larger than 1 MiB", 200, `{"id_token":"i","x":"` + strings.Repeat("x", 1<<20) + `"}`},
		{"larger than 1 MiB by spaces", 200, `{"id_token":"i"}` + strings.Repeat(" ", 1<<20)},
		{"not found", 404, "<html>"},
		{"redirect", 302, `{"id_token":"i"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := poll(t, tc.status, http.Header{"Location": {testIssuer + "/connect/token"}}, tc.body)
			if e := wantKind(t, err, ErrUnavailable); e.Status != tc.status {
				t.Errorf("error has status %d", e.Status)
			}
		})
	}
}

func TestClient_Poll_acceptsAnswerOfExactlyOneMebibyte(t *testing.T) {
	body := `{"id_token":"i","x":"`
	body += strings.Repeat("x", 1<<20-len(body)-2) + `"}`
	if _, err := poll(t, 200, nil, body); err != nil {
		t.Error(err)
	}
}

func TestClient_Poll_readsRetryAfter(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"":                               0,
		"7":                              7 * time.Second,
		"-7":                             0,
		"soon":                           0,
		"99999999999999":                 0,
		"2147483647":                     24 * time.Hour,
		"7.5":                            0,
		"Sun, 22 Nov 2026 12:00:09 GMT":  9 * time.Second,
		"Sunday, 22-Nov-26 12:00:09 GMT": 9 * time.Second,
		"Sun, 22 Nov 2026 11:00:00 GMT":  0,
		"Sun, 22 Nov 2099 11:00:00 GMT":  24 * time.Hour,
	} {
		for body, kind := range map[string]error{
			"": ErrUnavailable, `{"error":"authorization_pending"}`: ErrPending, `{"error":"slow_down"}`: ErrSlowDown,
		} {
			_, err := poll(t, 503, http.Header{"Retry-After": {value}}, body)
			if e := wantKind(t, err, kind); e.RetryAfter != want {
				t.Errorf("%q: got %v, want %v", value, e.RetryAfter, want)
			}
		}
	}
}

// A provider may hold a poll for half a minute; after that it is gone, which is
// not the caller's cancellation.
func TestClient_Poll_waitsForLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		p.handle(pathToken, func(request) reply {
			time.Sleep(34 * time.Second)
			return reply{status: 200, body: `{"id_token":"i"}`}
		})
		c := newClient(t, p, nil)
		if _, err := c.Poll(t.Context(), testID); err != nil {
			t.Error(err)
		}
		p.handle(pathToken, hang)
		before := time.Now()
		_, err := c.Poll(t.Context(), testID)
		e := wantKind(t, err, ErrUnavailable)
		if took := time.Since(before); took != 35*time.Second || e.Status != 0 || !strings.Contains(e.Error(), "35s") {
			t.Errorf("took %v: %v", took, e)
		}
	})
}

// Whoever gives up gets what they did, whatever the transport says of it.
func TestClient_Poll_callersOwnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		p.handle(pathToken, func(r request) reply {
			<-r.Context().Done()
			return reply{err: errors.New("some wrapped text")}
		})
		c := newClient(t, p, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Poll(ctx, testID)
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnavailable) {
			t.Errorf("own deadline gave %v", err)
		}
		withCause, cancelCause := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancelCause(errors.New("shutting down")) })
		if _, err := c.Poll(withCause, testID); err != context.Canceled {
			t.Errorf("own cancellation gave %v", err)
		}
	})
}

func TestClient_Poll_refusesMalformedID(t *testing.T) {
	p := newProvider()
	for _, id := range []string{"", "a b", "ø", "..", strings.Repeat("a", 4097)} {
		_, err := newClient(t, p, nil).Poll(t.Context(), id)
		wantKind(t, err, ErrConfiguration)
	}
	if len(p.seen) != 0 {
		t.Error("a request was sent")
	}
}

func TestClient_Poll_errorsQuoteNothing(t *testing.T) {
	for name, f := range map[string]func(request) reply{
		"transport": func(r request) reply {
			return reply{err: &url.Error{Op: "Post", URL: r.URL.String(), Err: fmt.Errorf("sending %v", r.form)}}
		},
		"body": func(r request) reply { return reply{status: 500, body: r.form.Encode()} },
		"code": func(r request) reply {
			return reply{status: 400, body: `{"error":"x","error_description":"` + testID + testSecret + `"}`}
		},
	} {
		p := newProvider()
		p.handle(pathToken, f)
		_, err := newClient(t, p, nil).Poll(t.Context(), testID)
		if err == nil || strings.Contains(err.Error(), testID) || strings.Contains(err.Error(), testSecret) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
