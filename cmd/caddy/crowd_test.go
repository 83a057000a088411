package main

import (
	"slices"
	"sync"
	"testing"
)

// crowd is many people who want something at the same time, in all ways.
type crowd struct {
	*site
	testing.TB
	acts []*act
	held map[*act]<-chan answer
}

// ways is how many acts of a crowd go which way: requests that are held,
// waiting pages, challenges, and challenges for approvals that are to be
// remembered.
type ways struct{ held, pages, challenges, remembered int }

// crowd starts n acts of each kind, at all gateways in turn.
func (s *site) crowd(t testing.TB, n int) *crowd {
	t.Helper()
	return s.gather(t, ways{n, n, n, n}, s.alive()...)
}

// gather starts acts at gateways in turn, and returns when all phones have
// rung.
func (s *site) gather(t testing.TB, w ways, gateways ...*gateway) *crowd {
	t.Helper()
	c := &crowd{site: s, TB: t, held: make(map[*act]<-chan answer)}
	var all sync.WaitGroup
	few := make(chan struct{}, 8) // at once: this is no test of haste
	start := func(n int, begin func(*person, *gateway)) {
		for i := range n {
			p, g := s.person(t), gateways[i%len(gateways)]
			all.Go(func() {
				few <- struct{}{}
				defer func() { <-few }()
				begin(p, g)
			})
		}
	}
	var mu sync.Mutex
	add := func(a *act, held <-chan answer) {
		mu.Lock()
		defer mu.Unlock()
		c.acts = append(c.acts, a)
		if held != nil {
			c.held[a] = held
		}
	}
	start(w.held, func(p *person, g *gateway) {
		a := p.transfer()
		add(a, a.hold(g))
		a.push()
	})
	start(w.pages, func(p *person, g *gateway) {
		a := p.transfer()
		a.page(g)
		add(a, nil)
	})
	start(w.challenges, func(p *person, g *gateway) {
		a := p.transfer()
		a.challenge(g)
		add(a, nil)
	})
	start(w.remembered, func(p *person, g *gateway) {
		a := p.accounts()
		a.challenge(g)
		add(a, nil)
	})
	all.Wait()
	return c
}

// heldAnswers takes the answers to the requests that are held.
func (c *crowd) heldAnswers() map[*act]answer {
	got := make(map[*act]answer)
	for a, held := range c.held {
		got[a] = <-held
	}
	c.held = nil
	return got
}

// finish has every act done to its end, by clients that use all gateways that
// are alive.
func (c *crowd) finish() {
	c.Helper()
	gateways := c.alive()
	few := make(chan struct{}, 16)
	var all sync.WaitGroup
	for i, a := range c.acts {
		all.Go(func() {
			if held, ok := c.held[a]; ok {
				<-held
			}
			if a.answered().passed() {
				return
			}
			few <- struct{}{}
			defer func() { <-few }()
			a.finish(append(slices.Clone(gateways[i%len(gateways):]), gateways[:i%len(gateways)]...)...)
		})
	}
	all.Wait()
}
