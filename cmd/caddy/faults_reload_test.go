package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// throng is the load of these tests, at the interval that the broker has.
var (
	throng     = ways{held: 200, pages: 10, challenges: 10, remembered: 10}
	realBroker = cibatest.Config{Interval: 5 * time.Second}
	reloads    = 20
)

// TestFaults_reloadUnderLoad reloads the configuration many times while people
// are asked. Nobody notices: held requests get the application's answer, also
// after the old configurations' grace period.
func TestFaults_reloadUnderLoad(t *testing.T) {
	t.Parallel()
	together(t, map[string]func(*testing.T){
		"memory": func(t *testing.T) { reloadUnderLoad(t, "memory") },
		"redis":  func(t *testing.T) { reloadUnderLoad(t, "redis "+redistest.Start(t).URL) },
	})
}

func reloadUnderLoad(t *testing.T, store string) {
	s := newSite(t, siteConfig{Store: store, Gateways: -1, Broker: realBroker})
	g := s.gateway(t, gatewayConfig{Admin: true, Grace: time.Second})
	g.ready(t)
	c := s.gather(t, throng, g)
	g.reload(t) // what the first one costs for good is not what is counted
	before := g.size(t)
	began := time.Now()
	for range reloads {
		g.reload(t)
	}
	took := time.Since(began)
	var after size
	// Polls that are under way come and go.
	settled := false
	for range 50 {
		after = g.size(t)
		if settled = after.goroutines < before.goroutines+reloads/2 && after.heap < before.heap+before.heap/8; settled {
			break
		}
	}
	if !settled {
		t.Errorf("after %d reloads there are %v, before there were %v:\n%s", reloads, after, before, g.profile(t))
	}
	t.Logf("%d reloads took %v; before: %v; after: %v", reloads, took.Round(time.Millisecond), before, after)
	s.normal(t, time.Now())
	s.polledOn(t, 2)
	if n := s.broker.approveWaiting(t); n != len(c.acts) {
		t.Errorf("%d requests are on the phones, want %d", n, len(c.acts))
	}
	for a, got := range c.heldAnswers() {
		a.mustPass(got)
	}
	c.finish()
	name, _, _ := strings.Cut(store, " ")
	s.passedAll(t, c, fmt.Sprintf("%d reloads with %d held requests, %s", reloads, throng.held, name), 0)
	eventually(t, "the goroutines of held requests to end", func() bool {
		return g.size(t).goroutines < before.goroutines-throng.held
	})
}

// size is what a process has in use. The connections to the broker that are
// kept do not count: there are as many as polls have met, up to a hundred.
type size struct{ goroutines, heap int }

func (s size) String() string {
	return fmt.Sprintf("%d goroutines, %.1f MiB of heap", s.goroutines, float64(s.heap)/(1<<20))
}

// sameGoroutines is the head of goroutines that stand at the same place.
var sameGoroutines = regexp.MustCompile(`(?m)^(\d+) @ `)

// size asks the admin API.
func (g *gateway) size(t *testing.T) size {
	t.Helper()
	g.get(t, "/debug/pprof/heap?gc=1")
	var vars struct{ Memstats struct{ HeapAlloc int } }
	if err := json.Unmarshal(g.get(t, "/debug/vars"), &vars); err != nil {
		t.Fatal(err)
	}
	n := 0
	for place := range strings.SplitSeq(string(g.profile(t)), "\n\n") {
		found := sameGoroutines.FindStringSubmatch(place)
		if found != nil && !strings.Contains(place, "net/http.(*persistConn)") {
			many, _ := strconv.Atoi(found[1])
			n += many
		}
	}
	if n == 0 {
		t.Fatal("the admin API does not tell the goroutines")
	}
	return size{n, vars.Memstats.HeapAlloc}
}

// profile lists the goroutines.
func (g *gateway) profile(t *testing.T) []byte {
	t.Helper()
	return g.get(t, "/debug/pprof/goroutine?debug=1")
}

// get asks the admin API, which a reload may have just replaced.
func (g *gateway) get(t *testing.T, path string) (body []byte) {
	t.Helper()
	eventually(t, "the admin API to answer", func() bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.admin+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Close = true // it must not count as something that the gateway has open
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, err = io.ReadAll(resp.Body)
		return err == nil && resp.StatusCode == http.StatusOK
	})
	return body
}

// TestFaults_gatewayStoppedUnderLoad stops a gateway that holds requests: each
// client is told where it stands, and passes at the other gateway.
func TestFaults_gatewayStoppedUnderLoad(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteConfig{Broker: realBroker})
	first := s.gateways[0]
	c := s.gather(t, throng, first)
	began := time.Now()
	first.terminate(t)
	for a, got := range c.heldAnswers() {
		if got.status != http.StatusUnauthorized || got.state != "pending" || got.retryAfter == 0 {
			a.Errorf("answer is %v, Retry-After %v, want the challenge", got, got.retryAfter)
		}
	}
	answered := time.Since(began)
	first.endsWell(t)
	ended := time.Since(began)
	if answered > gracePeriod || ended > gracePeriod {
		t.Errorf("answers came after %v and the end after %v, want them within %v", answered, ended, gracePeriod)
	}
	t.Logf("%d held requests were answered after %v, the process ended after %v", throng.held, answered.Round(time.Millisecond), ended.Round(time.Millisecond))

	s.polledOn(t, 1)
	goesOn := time.Since(began)
	if n := s.broker.approveWaiting(t); n != len(c.acts) {
		t.Errorf("%d requests are on the phones, want %d", n, len(c.acts))
	}
	c.finish()
	s.passedAll(t, c, fmt.Sprintf("SIGTERM with %d held requests", throng.held), goesOn)
}
