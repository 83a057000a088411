package caddymodule

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// benchRoutes compiles a gated route, as Caddy does, in front of a handler that
// does nothing.
func benchRoutes(b *testing.B, issuer string) caddyhttp.Handler {
	b.Helper()
	app, ctx := provisionApp(b, func(app object) {
		app["issuer"], app["client_id"], app["client_secret"] = issuer, cibatest.DemoClientID, cibatest.DemoClientSecret
	})
	if err := app.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := app.Cleanup(); err != nil {
			b.Error(err)
		}
	})
	encoded, err := json.Marshal([]object{{
		"match": []object{{"path": []string{"/transfers/*"}}},
		"handle": []object{{
			"handler": "step_up", "policy": "bench", "remember": "1h",
			"user": "{http.request.header.Remote-User}", "uuid": "{http.request.header.Remote-Uuid}",
		}},
	}})
	if err != nil {
		b.Fatal(err)
	}
	var routes caddyhttp.RouteList
	if err := json.Unmarshal(encoded, &routes); err != nil {
		b.Fatal(err)
	}
	if err := routes.Provision(ctx); err != nil {
		b.Fatal(err)
	}
	return routes.Compile(benchNext)
}

var benchNext caddyhttp.HandlerFunc = func(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// benchRequest is a request as a browser sends it.
func benchRequest(path string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "https://bank.example"+path, nil)
	for name, value := range map[string]string{
		"Accept":          "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
		"Accept-Encoding": "gzip, deflate, br, zstd",
		"Accept-Language": "da,en-US;q=0.7,en;q=0.3",
		"Remote-User":     "kirsten@example.dk",
		"Remote-Uuid":     "2fcd3a6b-5afe-4bad-8fad-0123456789ab",
		"Sec-Fetch-Dest":  "document",
		"Sec-Fetch-Mode":  "navigate",
		"Sec-Fetch-Site":  "same-origin",
		"Sec-Fetch-User":  "?1",
		"User-Agent":      "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		"Cookie":          "theme=dark; lang=da",
	} {
		r.Header.Set(name, value)
	}
	return r
}

// nobody throws an answer away.
type nobody struct{ header http.Header }

func (n nobody) Header() http.Header       { return n.header }
func (nobody) Write(p []byte) (int, error) { return len(p), nil }
func (nobody) WriteHeader(int)             {}

// BenchmarkHandler is what the gate adds to a request, over calling the next
// handler: subtract direct from the others, which contains what a request costs
// to make. unmatched is a route's matcher, and no gate.
func BenchmarkHandler(b *testing.B) {
	server := httptest.NewUnstartedServer(nil)
	issuer := "http://" + server.Listener.Addr().String() + "/op"
	broker, err := cibatest.New(cibatest.Config{Issuer: issuer, Interval: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	server.Config.Handler = broker
	server.Start()
	defer server.Close()
	gated := benchRoutes(b, issuer)

	// serve sends a copy of the request through a handler, as Caddy's server
	// does.
	serve := func(h caddyhttp.Handler, w http.ResponseWriter, r *http.Request) error {
		sent := *r
		sent.Header = r.Header.Clone()
		return h.ServeHTTP(w, caddyhttp.PrepareRequest(&sent, caddy.NewReplacer(), w, new(caddyhttp.Server)))
	}
	session := benchApprove(b, broker, gated, serve)

	for _, c := range []struct {
		name, path string
		handler    caddyhttp.Handler
	}{
		{"direct", "/transfers/7", benchNext},
		{"remembered", "/transfers/7", gated},
		{"unmatched", "/accounts/7", gated},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := benchRequest(c.path)
			r.Header.Set("Cookie", "theme=dark; "+secureCookie+"="+session+"; lang=da")
			w := nobody{make(http.Header)}
			b.ReportAllocs()
			for b.Loop() {
				if err := serve(c.handler, w, r); err != nil {
					b.Fatal(err)
				}
			}
			if len(w.header) > 0 {
				b.Fatal("the gate has answered")
			}
		})
	}
}

// benchApprove has a session approved, and returns its token.
func benchApprove(b *testing.B, broker *cibatest.Server, gated caddyhttp.Handler,
	serve func(caddyhttp.Handler, http.ResponseWriter, *http.Request) error) string {
	b.Helper()
	r := benchRequest("/transfers/7")
	for _, name := range []string{"Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User"} {
		r.Header.Del(name)
	}
	r.Header.Set("Prefer", "respond-async")
	w := httptest.NewRecorder()
	if err := serve(gated, w, r); err != nil {
		b.Fatal(err)
	}
	session := w.Header().Get(headerSession)
	requests := broker.Requests()
	if session == "" || len(requests) != 1 {
		b.Fatalf("nothing was started: %d %s", w.Code, w.Body)
	}
	if err := broker.Approve(requests[0].ID); err != nil {
		b.Fatal(err)
	}
	r.Header.Del("Prefer")
	r.Header.Set("Accept", "application/json")
	r.Header.Set(headerSession, session)
	w = httptest.NewRecorder()
	if err := serve(gated, w, r); err != nil {
		b.Fatal(err)
	}
	if w.Code != http.StatusNoContent {
		b.Fatalf("the request did not pass: %d %s", w.Code, w.Body)
	}
	return session
}
