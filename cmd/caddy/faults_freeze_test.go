package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
)

// TestFaults_gatewayFrozenForLongerThanItsLease suspends a gateway under a lease
// until another one polls, and lets it go on at that moment: it must not poll
// as well.
func TestFaults_gatewayFrozenForLongerThanItsLease(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	tests := map[string]func(*testing.T){
		"before Change approve": func(t *testing.T) { frozenWithTheAnswer(t, server.URL) },
	}
	for i, point := range []string{"after Claim", "before Get", "after Get", "poll arrived", "poll answered", "before Extend"} {
		tests[point] = func(t *testing.T) {
			store := fmt.Sprintf("%s {\n prefix frozen%d:\n}", server.URL, i)
			s := newSite(t, siteConfig{Store: "redis " + store, Gateways: -1})
			first := s.gateway(t, gatewayConfig{Store: "stopping " + store})
			first.ready(t)
			stop := s.stops.arm(first, point, 1)
			a := s.person(t).transfer()
			a.challenge(first)
			await(t, stop.reached)
			second := s.gateway(t, gatewayConfig{})
			second.ready(t)
			poll := s.stops.arm(second, "poll arrived", 1)
			first.freeze(t)
			frozen := time.Now()
			atBroker := strings.HasPrefix(point, "poll")
			if atBroker {
				stop.release() // the broker does not freeze
			}
			await(t, poll.reached)
			took := time.Since(frozen)
			if took > leaseLapses {
				t.Errorf("another gateway polled after %v, want %v at most", took, leaseLapses)
			}
			if !atBroker {
				stop.release()
			}
			first.thaw(t)
			for range 20 { // it has time to do what it likes
				if got := a.status(t.Context(), first, 0); got.state != "pending" {
					t.Errorf("state is %v, want pending", got)
				}
			}
			poll.release()
			a.approve()
			a.mustPass(a.finish(first, second))
			a.passedOnce()
			s.check(t, 0).state(t, "gateway frozen "+point, took)
		}
	}
	together(t, tests)
}

// frozenWithTheAnswer suspends a gateway that has the broker's answer and has
// not stored it. The gateway that takes over learns that it was given, and that
// is the end of the approval, whatever the first one does when it goes on.
func frozenWithTheAnswer(t *testing.T, url string) {
	store := url + " {\n prefix answer:\n}"
	s := newSite(t, siteConfig{Store: "redis " + store, Gateways: -1})
	first := s.gateway(t, gatewayConfig{Store: "stopping " + store})
	first.ready(t)
	stop := s.stops.arm(first, "before Change approve", 1)
	a := s.person(t).transfer()
	a.challenge(first)
	a.approve()
	await(t, stop.reached)
	second := s.gateway(t, gatewayConfig{})
	second.ready(t)
	first.freeze(t)
	frozen := time.Now()
	second.says(t, answerLost)
	took := time.Since(frozen)
	stop.release()
	first.thaw(t)
	first.says(t, "answer came for an approval that had ended otherwise")
	for _, g := range s.gateways {
		if got := a.ask(g); got.status != http.StatusForbidden || got.state != "failed" {
			t.Errorf("answer is %v %s, want 403 failed", got, got.body)
		}
	}
	s.check(t, 1).state(t, "gateway frozen with the answer", took)
}
