package main

import (
	"net/http"
	"testing"
)

func TestGateways(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteConfig{})
	a, b := s.gateways[0], s.gateways[1]
	together(t, map[string]func(*testing.T){
		"finish what the other started": func(t *testing.T) {
			x := s.newcomer(t).transfer()
			x.challenge(a)
			x.challenge(b) // joins
			x.approve()
			x.awaitApproved(b)
			x.mustPass(x.ask(b))
			x.mustBeSpent(x.ask(a))
			x.mustBeSpent(x.ask(b))
			x.passedOnce()
		},
		"hear at once of what the other collected": func(t *testing.T) {
			// Whoever polls: one request is held at each, and one of them passes.
			x := s.newcomer(t).transfer()
			x.challenge(a)
			held := []<-chan answer{x.hold(a), x.hold(b)}
			x.approve()
			first, second := <-held[0], <-held[1]
			if !first.passed() {
				first, second = second, first
			}
			x.mustPass(first)
			x.mustBeSpent(second)
			x.passedOnce()
		},
		"pass one of a hundred replays": func(t *testing.T) {
			x := s.newcomer(t).transfer()
			x.challenge(a)
			x.approve()
			x.awaitApproved(a)
			var held []<-chan answer
			for i := range 100 {
				held = append(held, x.hold(s.gateways[i%2]))
			}
			pass := 0
			for _, answers := range held {
				if got := <-answers; got.passed() {
					pass++
				} else {
					x.mustBeSpent(got)
				}
			}
			if pass != 1 {
				t.Errorf("%d of 100 replays passed, want 1", pass)
			}
			x.passedOnce()
		},
		"start once what comes to both at once": func(t *testing.T) {
			// With a session: without one, the two would be strangers.
			x := s.person(t).transfer()
			answers := make(chan answer, 20)
			for i := range cap(answers) {
				go func() { answers <- x.send(t.Context(), s.gateways[i%2], "Prefer: respond-async") }()
			}
			for range cap(answers) {
				if got := <-answers; got.state != "pending" {
					t.Errorf("answer is %v", got)
				}
			}
			x.approve()
			x.awaitApproved(b)
			x.mustPass(x.ask(b))
			x.passedOnce()
		},
		"poll one at a time, and not too soon": func(t *testing.T) {
			var all []*act
			for i := range 8 {
				x := s.newcomer(t).transfer()
				x.challenge(s.gateways[i%2])
				all = append(all, x)
			}
			for _, x := range all {
				id := x.push().ID
				eventually(t, "some polls", func() bool { return len(s.broker.polls(id)) >= 4 })
				x.approve()
			}
			for _, x := range all {
				x.awaitApproved(b)
			}
		},
	})
	s.check(t, 0)
}

// TestGateways_surviveOne kills the gateway that has started approvals, has
// polled for them and holds a request.
func TestGateways_surviveOne(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteConfig{})
	a, b := s.gateways[0], s.gateways[1]
	polled, fresh, ready := s.newcomer(t).transfer(), s.newcomer(t).transfer(), s.newcomer(t).transfer()
	ready.challenge(a)
	ready.approve()
	ready.awaitApproved(a)
	polled.challenge(a)
	held := polled.hold(a)
	id := polled.push().ID
	eventually(t, "a poll", func() bool { return len(s.broker.polls(id)) >= 1 })
	fresh.challenge(a)

	a.kill()
	if got := <-held; got.err == nil {
		t.Error("a gateway that was killed has answered")
	}
	for _, x := range []*act{polled, fresh} {
		if n := len(x.reached()); n != 0 {
			t.Errorf("the application saw %d requests that nobody approved", n)
		}
		x.approve()
		x.awaitApproved(b)
	}
	for _, x := range []*act{polled, fresh, ready} {
		x.mustPass(x.ask(b))
		x.mustBeSpent(x.ask(b))
		x.passedOnce()
	}
	s.check(t, 0)
}

// TestGateway_letsGoWhenStopped stops a gateway that holds a request: the
// client is told where it stands, and the other gateway goes on.
func TestGateway_letsGoWhenStopped(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteConfig{})
	a, b := s.gateways[0], s.gateways[1]
	x := s.newcomer(t).transfer()
	x.challenge(a)
	held := x.hold(a)
	// It is held for as long as the approval is pending; a poll later, it has
	// arrived for sure.
	id := x.push().ID
	polls := len(s.broker.polls(id))
	eventually(t, "two more polls", func() bool { return len(s.broker.polls(id)) >= polls+2 })
	a.terminate(t)
	if got := <-held; got.status != http.StatusUnauthorized || got.state != "pending" {
		t.Errorf("answer is %v %s, want the challenge", got, got.body)
	}
	a.endsWell(t)
	x.approve()
	x.awaitApproved(b)
	x.mustPass(x.ask(b))
	x.passedOnce()
	s.check(t, 0)
}
