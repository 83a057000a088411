package main

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// check looks at everything that has happened at the site so far, reports every
// rule that was broken, and counts. answersLost is how many answers of the
// broker the fault may have lost on their way into the store.
func (s *site) check(t testing.TB, answersLost int) tally {
	t.Helper()
	e := evidence{
		interval: s.broker.interval,
		calls:    s.broker.seen(),
		requests: s.broker.Requests(),
		approved: s.broker.approvals(),
		arrivals: s.upstream.all(),
		lost:     answersLost,
	}
	s.mu.Lock()
	acts := slices.Clone(s.acts)
	s.mu.Unlock()
	for _, a := range acts {
		a.mu.Lock()
		e.acts = append(e.acts, claim{a.id, a.wills, a.remembered, a.asking, slices.Clone(a.faults)})
		a.mu.Unlock()
	}
	for _, finding := range e.findings() {
		t.Error(finding)
	}
	s.checkLogs(t)
	return tallyOf(slices.DeleteFunc(acts, func(a *act) bool { return a.probe })...)
}

// userNames are what userName makes.
var userNames = regexp.MustCompile(`user-\d{3}`)

// passedAll wants everybody of a crowd to have passed, and nothing else.
func (s *site) passedAll(t *testing.T, c *crowd, fault string, normal time.Duration) {
	t.Helper()
	y := s.check(t, 0)
	if y.passed != len(c.acts) || y.acts != y.passed {
		t.Errorf("%v, want all %d to pass", y, len(c.acts))
	}
	y.state(t, fault, normal)
}

// checkLogs wants neither data races nor personal data nor secrets in the logs.
func (s *site) checkLogs(t testing.TB) {
	t.Helper()
	secrets := map[string]string{
		"a MitID UUID":       userUUID(0)[8:],
		"a text":             "Transfer 100",
		"a text of accounts": "Accounts of",
		"a body":             "amount=100",
		"the client secret":  cibatest.DemoClientSecret,
		"the key":            storeKey,
		"a simulated name":   "Simulated Person",
	}
	for i, q := range s.broker.Requests() {
		secrets[fmt.Sprintf("auth_req_id %d", i)] = q.ID
	}
	s.mu.Lock()
	for _, a := range s.acts {
		if a.session != "" {
			secrets["session of "+a.id] = a.session
		}
	}
	s.mu.Unlock()
	for _, g := range s.gateways {
		log := g.logged()
		if strings.Contains(log, "DATA RACE") {
			t.Errorf("gateway %s: data race", g.name)
		}
		if userNames.MatchString(log) {
			t.Errorf("the log of gateway %s has a user's name", g.name)
		}
		for what, secret := range secrets {
			if strings.Contains(log, secret) {
				t.Errorf("the log of gateway %s has %s", g.name, what)
			}
		}
	}
}

// normal asks for new transfers, approved at once, until one passes at every
// gateway that is alive, and returns how long after a moment that was.
func (s *site) normal(t testing.TB, since time.Time) time.Duration {
	t.Helper()
	var all sync.WaitGroup
	for _, g := range s.alive() {
		all.Go(func() {
			eventually(t, "a transfer to pass again", func() bool {
				a := s.person(t).transfer()
				a.probe = true
				answers := a.hold(g)
				for {
					select {
					case got := <-answers:
						return got.passed()
					case <-time.After(20 * time.Millisecond):
						a.approveWaiting()
					}
				}
			})
		})
	}
	all.Wait()
	return time.Since(since)
}

// polledOn waits until everything that is pending has been polled for so many
// times more.
func (s *site) polledOn(t testing.TB, times int) {
	t.Helper()
	want := make(map[string]int)
	for _, q := range s.broker.Requests() {
		if q.State == cibatest.StateWaiting {
			want[q.ID] = len(s.broker.polls(q.ID)) + times
		}
	}
	eventually(t, "polls to go on", func() bool {
		polls := make(map[string]int)
		for _, c := range s.broker.seen() {
			if !c.start && !c.ended.IsZero() {
				polls[c.id]++
			}
		}
		for id, n := range want {
			if polls[id] < n {
				return false
			}
		}
		return true
	})
}

// untouched wants routes that are not gated to answer as they are.
func (s *site) untouched(t testing.TB) {
	t.Helper()
	for _, g := range s.alive() {
		began := time.Now()
		resp, err := http.Get("http://" + g.address + "/public")
		if err != nil {
			t.Error(err)
			continue
		}
		resp.Body.Close()
		if took := time.Since(began); resp.StatusCode != http.StatusOK || took > refusalTime {
			t.Errorf("a route that is not gated answers %d after %v", resp.StatusCode, took)
		}
	}
}

func TestFaults_none(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteConfig{})
	c := s.crowd(t, 8)
	s.polledOn(t, 2)
	started := time.Now()
	if n := s.broker.approveWaiting(t); n != len(c.acts) {
		t.Errorf("%d requests are on the phones, want %d", n, len(c.acts))
	}
	c.finish()
	s.normal(t, started)
	s.passedAll(t, c, "none", 0)
}
