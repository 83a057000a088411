package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

const upstreamAnswer = "the application's answer"

// upstream is the application behind the gateways.
type upstream struct {
	address string

	mu       sync.Mutex
	arrivals []arrival
}

// arrival is a request that has reached the application.
type arrival struct {
	at           time.Time
	method, path string
	body         string
	uuid         string // whose approval it came with
	approval     string // the approval's id
}

func newUpstream(t testing.TB, stops *stops) *upstream {
	u := new(upstream)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := arrival{
			at:       time.Now(),
			method:   r.Method,
			path:     r.URL.Path,
			uuid:     r.Header.Get("Step-Up-Uuid"),
			approval: r.Header.Get("Step-Up-Approval"),
		}
		body, _ := io.ReadAll(r.Body)
		a.body = string(body)
		u.mu.Lock()
		u.arrivals = append(u.arrivals, a)
		u.mu.Unlock()
		if stops.at(r.Context(), r.Header.Get("Gateway"), "forwarded") {
			return
		}
		io.WriteString(w, upstreamAnswer)
	}))
	t.Cleanup(s.Close)
	u.address = s.Listener.Addr().String()
	return u
}

// all are the requests so far.
func (u *upstream) all() []arrival {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.arrivals)
}
