package ciba

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// Over real connections: what an operator reads when the provider cannot be
// reached.
func TestClient_tellsWhyProviderIsUnreachable(t *testing.T) {
	plainHTTP := httptest.NewServer(http.NotFoundHandler())
	defer plainHTTP.Close()
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = nil
	untrusted.StartTLS()
	defer untrusted.Close()
	closed := httptest.NewServer(nil)
	closed.Close()
	garbage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Write([]byte("hunter2 hunter2\r\n\r\n"))
		conn.Close()
	}))
	defer garbage.Close()
	drops := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer drops.Close()
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Write([]byte(`{"id_token":"i"}`))
	}))
	defer cut.Close()

	for _, tc := range []struct{ name, url, want string }{
		{"nothing listens", closed.URL, "connection refused"},
		{"certificate untrusted", untrusted.URL, "certificate"},
		{"no TLS", strings.Replace(plainHTTP.URL, "http:", "https:", 1), "HTTP response to HTTPS client"},
		{"not HTTP", garbage.URL, "request not carried out"},
		{"connection dropped", drops.URL, "connection closed"},
		{"answer cut off", cut.URL, "connection closed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newClient(t, nil, func(c *Config) {
				c.Transport = defaultTransport()
				c.Endpoints.Token = tc.url
			})
			_, err := c.Poll(t.Context(), testID)
			e := wantKind(t, err, ErrUnavailable)
			if !strings.Contains(e.Error(), tc.want) || strings.Contains(e.Error(), "hunter2") {
				t.Errorf("got %q, want %q in it", e, tc.want)
			}
		})
	}
	if got := plain(&net.DNSError{Err: "no such host", Name: "op.example"}).Error(); got != "resolving the host op.example: no such host" {
		t.Errorf("DNS: %q", got)
	}
}

// A connection that dies under a request: net/http would send a GET again, but
// a POST must stay the one it was.
func TestClient_sendsPostOnceOnDyingConnection(t *testing.T) {
	var calls atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			w.Write([]byte(acknowledged))
			return
		}
		panic(http.ErrAbortHandler)
	}))
	defer s.Close()
	c := newClient(t, nil, func(c *Config) {
		c.Transport = defaultTransport()
		c.Endpoints.BackchannelAuthentication = s.URL
	})
	if err := start(t, c); err != nil {
		t.Fatal(err)
	}
	wantKind(t, start(t, c), ErrUnavailable)
	if n := calls.Load(); n != 2 {
		t.Errorf("provider got %d requests of two starts", n)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                   "plain",
		"a\nb\x00c\u202ed\u2028":  "a b c d ",
		strings.Repeat("æ", 201):  strings.Repeat("æ", 200),
		"\xff":                    "\ufffd",
		"ansi \x1b[31mred\x1b[0m": "ansi  [31mred [0m",
	} {
		if got := printable(in, 200); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestError_text(t *testing.T) {
	e := &Error{Kind: ErrUnavailable, Endpoint: "token", Status: 503, Code: "x", Description: "hidden", Err: errors.New("why")}
	if got, want := e.Error(), `token endpoint: provider unavailable: status 503: error "x": why`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (&TokenError{"aud", "it is odd"}).Error(), "id token not accepted: aud: it is odd"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
