package main

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// refusalTime is how long it may take to be told that the store is away: a call
// to Redis has two seconds. The rest is room for a slow machine.
const refusalTime = 2*time.Second + 3*time.Second

// scene is what goes on at a site when its Redis fails.
type scene struct {
	*crowd                        // people who are asked
	waits  map[*act]<-chan answer // what their clients hear when the wait is over
	known  []*act                 // remembered approvals that all gateways know by heart
	ready  []*act                 // one-time approvals that are given, and not used yet
	used   []*act                 // those that are used
	later  []*act                 // what was asked for while Redis was away
	// Those that somebody tried to use when Redis did not answer. It may have
	// heard of it all the same, and then they are spent.
	spoilt []*act

	slow time.Duration // the longest that somebody waited to be refused
	mu   sync.Mutex
}

// newScene starts so many of each.
func newScene(t testing.TB, s *site, n int) *scene {
	t.Helper()
	c := &scene{waits: make(map[*act]<-chan answer)}
	gateways := s.alive()
	var all sync.WaitGroup
	for i := range n {
		first, last := gateways[i%len(gateways)], gateways[(i+1)%len(gateways)]
		known, ready, used := s.person(t).accounts(), s.person(t).transfer(), s.person(t).transfer()
		c.known, c.ready, c.used = append(c.known, known), append(c.ready, ready), append(c.used, used)
		used.probe = true // what counts is that it cannot be used again
		for _, a := range []*act{known, ready, used} {
			all.Go(func() {
				a.challenge(first)
				a.approve()
				a.awaitApproved(last)
				switch a {
				case used:
					a.mustPass(a.ask(last))
				case known:
					for _, g := range gateways {
						a.mustPass(a.ask(g))
						a.mustPass(a.ask(g))
					}
				}
			})
		}
	}
	all.Wait()
	c.crowd = s.crowd(t, n)
	for i, a := range c.acts {
		if held, ok := c.held[a]; ok {
			c.waits[a] = held
			continue
		}
		heard := make(chan answer, 1)
		c.waits[a] = heard
		go func() {
			defer close(heard)
			heard <- a.wait(gateways[i%len(gateways)], gateways[(i+1)%len(gateways)])
		}()
	}
	c.held = nil
	return c
}

// wait does what a waiting page does: it asks for the state, also of a gateway
// in trouble, until that is neither pending nor unknown.
func (a *act) wait(gateways ...*gateway) answer {
	var got answer
	next := 0
	eventually(a, "the end of "+a.id, func() bool {
		got = a.status(a.Context(), gateways[next%len(gateways)], 2)
		if got.err != nil || got.state == "unavailable" {
			next++
			return false
		}
		return got.state != "pending"
	})
	return got
}

// refused wants all that is gated to be refused for want of the store, by every
// gateway, and everything else to be as always.
func (c *scene) refused(t testing.TB) {
	t.Helper()
	var all sync.WaitGroup
	for i, g := range c.alive() {
		fresh := c.person(t).transfer()
		fresh.probe = true
		c.later = append(c.later, fresh)
		all.Go(func() { c.refusedBy(t, g, fresh, c.used[i%len(c.used)], c.known[i%len(c.known)]) })
	}
	c.untouched(t)
	all.Wait()
}

func (c *scene) refusedBy(t testing.TB, g *gateway, acts ...*act) {
	for _, a := range acts {
		if a.remembered {
			// It is good by heart, until it is known that news do not come.
			eventually(t, "a gateway to notice", func() bool { return !a.ask(g).passed() })
		}
		got := a.ask(g)
		if got.status != http.StatusServiceUnavailable || got.state != "unavailable" || got.retryAfter == 0 {
			t.Errorf("answer is %v, Retry-After %v, want 503", got, got.retryAfter)
		}
		c.noteRefusal(t, a, got)
	}
}

// noteRefusal wants a refusal to have come in time.
func (c *scene) noteRefusal(t testing.TB, a *act, got answer) {
	if got.took > refusalTime {
		t.Errorf("%s: an answer came after %v, want %v at most", a.path, got.took, refusalTime)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slow = max(c.slow, got.took)
}

// someSayYes has half of the people say yes.
func (c *scene) someSayYes() {
	for _, a := range c.acts[:len(c.acts)/2] {
		a.approveWaiting()
	}
}

// sayYes has everybody say yes, also to what comes later, until end is called.
func (c *scene) sayYes() (end func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		again := time.NewTicker(50 * time.Millisecond)
		defer again.Stop()
		for {
			for _, a := range slices.Concat(c.acts, c.later, c.known, c.ready, c.used) {
				a.approveWaiting()
			}
			select {
			case <-over:
				return
			case <-again.C:
			}
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}

// goesOn wants everything to go on as if nothing had been, after a fault that
// has lost nothing. It was over at a certain time.
func (c *scene) goesOn(t testing.TB, fault string, over time.Time) {
	t.Helper()
	end := c.sayYes()
	defer end()
	var normal, heard time.Duration
	var all sync.WaitGroup
	all.Go(func() { normal = c.normal(t, over) })
	all.Go(func() {
		for _, a := range c.acts {
			if got := <-c.waits[a]; !got.passed() && got.state != "approved" {
				t.Errorf("%s: answer is %v %s", a.id, got, got.body)
			}
		}
		heard = time.Since(over)
	})
	all.Wait()
	c.finish()
	c.keeps(t)
	c.finishLater(t)
	y := c.check(t, 0)
	if want := len(c.acts) + len(c.known) + len(c.ready); y.passed != want {
		t.Errorf("%v, want all %d to pass", y, want)
	}
	y.state(t, fault, normal)
	t.Logf("%s: refusals came after %v at most, all who waited had their answers after %v", fault,
		c.slow.Round(10*time.Millisecond), heard.Round(100*time.Millisecond))
}

// keeps wants what was approved before to be good, once or for as long as it is
// remembered, and what was used to be used.
func (c *scene) keeps(t testing.TB) {
	t.Helper()
	for i, g := range c.alive() {
		for _, a := range c.used {
			a.mustBeSpent(a.ask(g))
			a.passedOnce()
		}
		for _, a := range c.known {
			a.mustPass(a.ask(g))
		}
		for _, a := range c.spoilt {
			if got := a.ask(g); !got.passed() {
				a.mustBeSpent(got)
			}
		}
		for n, a := range c.ready {
			if n%len(c.alive()) == i {
				a.mustPass(a.ask(g))
				a.passedOnce()
			}
		}
	}
}

// finishLater has everybody ask again who was refused during the fault.
func (c *scene) finishLater(t testing.TB) {
	t.Helper()
	var all sync.WaitGroup
	for _, a := range c.later {
		all.Go(func() {
			a.mustPass(a.finish(c.alive()...))
			a.passedOnce()
		})
	}
	all.Wait()
}
