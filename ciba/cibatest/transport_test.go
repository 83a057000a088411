package cibatest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestTransport_servesOnlyTheIssuersHost(t *testing.T) {
	s := newServer(t, Config{})
	for _, url := range []string{
		"https://op.example/op/connect/token",
		"http://op.example:80/op/connect/token",
		"http://other.example/op/connect/token",
	} {
		if _, err := send(t, s, newRequest(t, http.MethodGet, url, "")); err == nil {
			t.Errorf("%s was served", url)
		}
	}
	if n := len(s.Log()); n != 0 {
		t.Errorf("%d calls came through", n)
	}
}

func TestTransport_honoursACancelledContext(t *testing.T) {
	s := newServer(t, Config{})
	cause := errors.New("no longer")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := send(t, s, formRequest(t, "/connect/ciba", startForm()).WithContext(ctx)); !errors.Is(err, cause) {
		t.Errorf("err = %v", err)
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// cancelling a context while the answer is made loses the answer.
func TestTransport_losesTheAnswerOfACancelledCall(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := newServer(t, Config{TokenClaims: func(map[string]any, Request) { cancel() }})
	id := start(t, s)
	must(t, s.Approve(id))
	if _, err := send(t, s, formRequest(t, "/connect/token", pollForm(id)).WithContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	wantPoll(t, s, id, "invalid_grant")
}

type brokenBody struct{ closed bool }

func (b *brokenBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
func (b *brokenBody) Close() error             { b.closed = true; return nil }

func TestTransport_closesTheBody(t *testing.T) {
	body := new(brokenBody)
	req := formRequest(t, "/connect/ciba", nil)
	req.Body = body
	if _, err := send(t, newServer(t, Config{}), req); !errors.Is(err, io.ErrUnexpectedEOF) || !body.closed {
		t.Errorf("err = %v, closed %v", err, body.closed)
	}
}

func TestTransport_passesPanicsOn(t *testing.T) {
	s := newServer(t, Config{TokenClaims: func(map[string]any, Request) { panic("hook") }})
	id := start(t, s)
	must(t, s.Approve(id))
	defer func() {
		if got := recover(); got != "hook" {
			t.Errorf("recovered %v", got)
		}
		// The server lives on.
		if got := s.Log()[1]; got.Status != 0 {
			t.Errorf("log %v", got)
		}
	}()
	poll(t, s, id)
}

func TestTransport_answersHEADWithoutBody(t *testing.T) {
	r := do(t, newServer(t, Config{}), newRequest(t, http.MethodHead, testIssuer+"/.well-known/openid-configuration", ""))
	if r.status != http.StatusOK || len(r.body) != 0 {
		t.Errorf("status %d, %d bytes", r.status, len(r.body))
	}
}

// listener is a server over HTTP, as in the demo. It tells when a request with
// its form came in, and when it was done with.
type listener struct {
	*Server
	client        *http.Client
	entered, left chan struct{}
}

func listen(t *testing.T) *listener {
	t.Helper()
	l := &listener{entered: make(chan struct{}, 10), left: make(chan struct{}, 10)}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		l.entered <- struct{}{}
		defer func() { l.left <- struct{}{} }()
		l.ServeHTTP(w, r)
	}))
	l.Server = newServer(t, Config{Issuer: "http://" + srv.Listener.Addr().String() + "/op"})
	srv.Start()
	t.Cleanup(srv.Close)
	l.client = srv.Client()
	return l
}

func (l *listener) post(ctx context.Context, path string, form url.Values) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.cfg.Issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := l.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(raw), err
}

func TestServer_overHTTP(t *testing.T) {
	l := listen(t)
	status, body, err := l.post(t.Context(), "/connect/ciba", startForm())
	if err != nil || status != http.StatusOK {
		t.Fatalf("start: %d, %s, %v", status, body, err)
	}
	id := l.Requests()[0].ID
	status, body, err = l.post(t.Context(), "/connect/token", pollForm(id))
	if err != nil || status != http.StatusBadRequest || body != `{"error":"authorization_pending"}` {
		t.Errorf("poll: %d, %s, %v", status, body, err)
	}

	resp, err := l.client.Get(l.cfg.Issuer + "/.well-known/openid-configuration")
	must(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(t, err)
	if want := `"token_endpoint":"` + l.cfg.Issuer + `/connect/token"`; !strings.Contains(string(raw), want) {
		t.Errorf("discovery lacks %s: %s", want, raw)
	}
}

func TestServer_overHTTPDropsTheConnection(t *testing.T) {
	l := listen(t)
	l.Inject(Fault{Endpoint: EndpointStart, Answer: AnswerDrop, After: true, Count: 1})
	if status, _, err := l.post(t.Context(), "/connect/ciba", startForm()); err == nil {
		t.Errorf("a dropped connection brought an answer: %d", status)
	}
	if n := len(l.Requests()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestServer_overHTTPLatencyEndsWithTheClient(t *testing.T) {
	l := listen(t)
	l.Inject(Fault{Endpoint: EndpointStart, Latency: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, _, err := l.post(ctx, "/connect/ciba", startForm())
		done <- err
	}()
	<-l.entered
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	<-l.left
	if n := len(l.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}
