package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

func TestFaults_broker(t *testing.T) {
	t.Parallel()
	together(t, map[string]func(*testing.T){
		"stutters at polls":         brokerStuttersAtPolls,
		"loses tokens":              brokerLosesTokens,
		"stutters at starts":        brokerStuttersAtStarts,
		"changes its keys":          brokerChangesItsKeys,
		"hides its keys":            brokerHidesItsKeys,
		"has a clock that is ahead": func(t *testing.T) { brokerClockIsOff(t, 2*time.Minute, "the token is not valid yet") },
		"has a clock that is slow":  func(t *testing.T) { brokerClockIsOff(t, -2*time.Minute, "it lies before the request") },
	})
}

// brokerStuttersAtPolls spoils polls of each approval, and has the person say
// yes meanwhile. Nothing is lost.
func brokerStuttersAtPolls(t *testing.T) {
	s := newSite(t, siteConfig{})
	tests := make(map[string]func(*testing.T))
	for name, f := range map[string]cibatest.Fault{
		"polls slower than the interval":       {Latency: 2 * interval},
		"answers to polls come late":           {Latency: 2 * interval, After: true},
		"a poll without answer":                {Latency: time.Hour, Count: 1},
		"500 for polls":                        {Answer: cibatest.AnswerStatus, Status: 500},
		"503 with Retry-After for polls":       {Answer: cibatest.AnswerStatus, RetryAfter: "3"},
		"connections reset before polls":       {Answer: cibatest.AnswerDrop},
		"HTML instead of answers":              {Answer: cibatest.AnswerHTML},
		"HTML with 502 instead of answers":     {Answer: cibatest.AnswerHTML, Status: 502},
		"redirects instead of answers":         {Answer: cibatest.AnswerRedirect},
		"truncated JSON while the phone rings": {Answer: cibatest.AnswerBrokenJSON},
		"oversize while the phone rings":       {Answer: cibatest.AnswerOversize},
		"connections reset after polls":        {Answer: cibatest.AnswerDrop, After: true},
	} {
		tests[name] = func(t *testing.T) {
			a := s.person(t).transfer()
			held := a.hold(s.gateways[0])
			f.Endpoint, f.AuthReqID = cibatest.EndpointToken, a.push().ID
			if f.Count == 0 {
				f.Count = 2
			}
			s.broker.Inject(f)
			// An answer that is handled and then spoilt must not be the last.
			spoilt := f.After && f.Answer == cibatest.AnswerDrop || f.Answer == cibatest.AnswerBrokenJSON || f.Answer == cibatest.AnswerOversize
			if !spoilt {
				eventually(t, "a poll", func() bool { return len(s.broker.polls(f.AuthReqID)) > 0 })
				a.approve()
			}
			eventually(t, "the fault to happen", func() bool {
				polls := s.broker.polls(f.AuthReqID)
				return len(polls) >= f.Count && !polls[f.Count-1].ended.IsZero() || slices.ContainsFunc(polls, call.final)
			})
			over := time.Now()
			if spoilt {
				a.approve()
			}
			a.mustPass(<-held)
			a.passedOnce()
			tallyOf(a).state(t, name, time.Since(over))
		}
	}
	together(t, tests)
	s.says(t, "polling: trying again later")
	s.untouched(t)
	s.check(t, 0)
}

// brokerLosesTokens spoils the answer that carries the tokens. The broker does
// not give it again: the approval ends, the log says so, nothing passes, and
// whoever still wants it is asked once more.
func brokerLosesTokens(t *testing.T) {
	s := newSite(t, siteConfig{})
	tests := make(map[string]func(*testing.T))
	for name, f := range map[string]cibatest.Fault{
		"the connection is reset": {Answer: cibatest.AnswerDrop, After: true},
		"500 instead of tokens":   {Answer: cibatest.AnswerStatus, Status: 500, After: true},
		"HTML instead of tokens":  {Answer: cibatest.AnswerHTML, After: true},
		"truncated tokens":        {Answer: cibatest.AnswerBrokenJSON},
		"oversize tokens":         {Answer: cibatest.AnswerOversize},
	} {
		tests[name] = func(t *testing.T) {
			a := s.person(t).transfer()
			held := a.hold(s.gateways[1])
			id := a.push().ID
			f.Endpoint, f.AuthReqID = cibatest.EndpointToken, id
			remove := s.broker.Inject(f)
			a.approve()
			eventually(t, "the tokens to be given", func() bool { return a.pushes()[0].State == cibatest.StateCollected })
			lost := time.Now()
			remove()
			got := <-held
			if got.status != http.StatusForbidden || got.state != "failed" {
				t.Errorf("answer is %v %s, want 403 failed", got, got.body)
			}
			tallyOf(a).state(t, "tokens lost: "+name, time.Since(lost))
			a.restart(s.gateways[0], got)
			a.approveWaiting()
			a.mustPass(a.finish(s.gateways[0]))
		}
	}
	together(t, tests)
	s.says(t, answerLost)
	s.check(t, 0)
}

// brokerStuttersAtStarts spoils the start of each approval. Nobody knows
// whether the phone rang: the client is told to come back in half a minute, and
// until then the same request starts nothing.
func brokerStuttersAtStarts(t *testing.T) {
	s := newSite(t, siteConfig{})
	tests := make(map[string]func(*testing.T))
	for name, f := range map[string]struct {
		cibatest.Fault
		rings bool
	}{
		"a start without answer":              {cibatest.Fault{Latency: time.Hour, After: true}, true},
		"500 for a start":                     {cibatest.Fault{Answer: cibatest.AnswerStatus, Status: 500}, false},
		"500 for a start that rings":          {cibatest.Fault{Answer: cibatest.AnswerStatus, Status: 500, After: true}, true},
		"the connection reset before a start": {cibatest.Fault{Answer: cibatest.AnswerDrop}, false},
		"the connection reset after a start":  {cibatest.Fault{Answer: cibatest.AnswerDrop, After: true}, true},
		"HTML instead of a start":             {cibatest.Fault{Answer: cibatest.AnswerHTML}, false},
		"a redirected start":                  {cibatest.Fault{Answer: cibatest.AnswerRedirect}, false},
		"a truncated answer to a start":       {cibatest.Fault{Answer: cibatest.AnswerBrokenJSON}, true},
		"an oversize answer to a start":       {cibatest.Fault{Answer: cibatest.AnswerOversize}, true},
	} {
		// One after the other: a fault of starts meets whoever comes next.
		a := s.person(t).transfer()
		f.Endpoint, f.Count = cibatest.EndpointStart, 1
		s.broker.Inject(f.Fault)
		held := a.hold(s.gateways[0])
		eventually(t, "the start", func() bool {
			return slices.ContainsFunc(s.broker.seen(), func(c call) bool { return c.start && strings.Contains(c.text, a.id) })
		})
		tests[name] = func(t *testing.T) {
			got := <-held
			told := time.Now()
			for range 2 {
				if got.status != http.StatusServiceUnavailable || got.state != "unavailable" || got.retryAfter != 30*time.Second {
					t.Errorf("answer is %v, Retry-After %v, want 503 for 30 s", got, got.retryAfter)
				}
				got = a.ask(s.gateways[1])
			}
			if rang := len(a.pushes()); rang > 1 || f.rings != (rang == 1) {
				t.Errorf("the phone rang %d times", rang)
			}
			a.approveWaiting() // in vain
			y := tallyOf(a)
			if f.Latency == 0 { // that took long enough
				a.comeBack(s.gateways[1])
				a.approveWaiting()
				a.mustPass(a.finish(s.gateways[1]))
			}
			y.state(t, name, time.Since(told))
		}
	}
	s.untouched(t)
	s.normal(t, time.Now())
	together(t, tests)
	s.says(t, `"reason":"provider_unavailable"`)
	s.check(t, 0)
}

// brokerChangesItsKeys rotates the broker's signing key while approvals are
// pending.
func brokerChangesItsKeys(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.normal(t, time.Now()) // the keys are known
	c := s.crowd(t, 2)
	s.broker.RotateKey()
	rotated := time.Now()
	s.broker.approveWaiting(t)
	c.finish()
	normal := time.Since(rotated)
	if normal > 10*time.Second {
		t.Errorf("it took %v to find the new key", normal)
	}
	s.passedAll(t, c, "the broker has another signing key", normal)
}

// brokerHidesItsKeys has the broker's keys unreachable when a new one has
// signed. What the tokens say is kept, and nothing passes, until the keys are
// there.
func brokerHidesItsKeys(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.normal(t, time.Now()) // the keys are known
	c := s.crowd(t, 2)
	remove := s.broker.Inject(cibatest.Fault{Endpoint: cibatest.EndpointJWKS, Answer: cibatest.AnswerStatus})
	s.broker.RotateKey()
	s.broker.approveWaiting(t)
	eventually(t, "all answers to be collected", func() bool {
		return !slices.ContainsFunc(s.broker.Requests(), func(q cibatest.Request) bool { return q.State != cibatest.StateCollected })
	})
	s.says(t, "verifying an answer: trying again")
	if n := len(s.upstream.all()); n != len(s.gateways) {
		t.Errorf("%d requests have passed without their tokens being verified", n-len(s.gateways))
	}
	remove()
	over := time.Now()
	c.finish()
	s.passedAll(t, c, "the broker's keys cannot be fetched after it has changed them", time.Since(over))
}

// brokerClockIsOff has the broker's clock two minutes ahead or behind: nothing
// can be believed, and nothing passes until it is right.
func brokerClockIsOff(t *testing.T, off time.Duration, says string) {
	var skew atomic.Int64
	skew.Store(int64(off))
	s := newSite(t, siteConfig{Broker: cibatest.Config{
		Now: func() time.Time { return time.Now().Add(time.Duration(skew.Load())) },
	}})
	c := s.crowd(t, 1)
	s.broker.approveWaiting(t)
	c.finish()
	if n := len(s.upstream.all()); n > 0 {
		t.Errorf("%d requests have passed", n)
	}
	s.says(t, `"reason":"verification_failed"`)
	s.says(t, says)
	y := s.check(t, 0)
	if y.lost["failed"] != len(c.acts) {
		t.Errorf("%v, want all to fail", y)
	}
	skew.Store(0)
	y.state(t, fmt.Sprint("the broker's clock off by ", off), s.normal(t, time.Now()))
	s.check(t, 0)
}
