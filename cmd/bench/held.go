package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

const (
	// heldTarget is bytes of heap and stacks for one request.
	heldTarget = 40 << 10

	// atOnce is how many requests come at the same time, and how many come
	// before memory is measured: the connections to Redis and to the broker that
	// these need are there once.
	atOnce = 100
)

// measureHeld has many requests wait for their answer, at a gate and, to
// compare with, at plain Caddy in front of an application that is slow. The
// interval is long, so that polls are few while memory is measured; approvals
// are in Redis, because their memory is another part's.
func measureHeld(ctx context.Context, b *bench) error {
	s, err := newSite(b.interval)
	if err != nil {
		return err
	}
	defer s.stop()
	r, err := b.redis(ctx)
	if err != nil {
		return err
	}
	defer r.stop()
	gated, err := b.gateway(s, gate{Path: "/transfers", Store: "redis " + r.url})
	if err != nil {
		return err
	}
	defer gated.stop()
	err = each(ctx, atOnce, atOnce, func(ctx context.Context, i int) error {
		return s.start(ctx, gated, newPerson(b.held+i, http.MethodPost, "/transfers"))
	})
	if err != nil {
		return err
	}
	b.progress("held: %d requests wait at the gate", b.held)
	atGate, err := b.hold(ctx, s, gated, "/transfers", "held", func() int { return len(s.broker.Requests()) - atOnce }, func() error {
		_, _, err := s.decideAll(func(i int, _ cibatest.Request) bool { return i%approvedOf == 0 })
		return err
	})
	if err != nil {
		return err
	}

	plain, err := b.gateway(s, gate{})
	if err != nil {
		return err
	}
	defer plain.stop()
	err = each(ctx, atOnce, atOnce, func(ctx context.Context, i int) error {
		return s.expect(ctx, passed, plain, newPerson(b.held+i, http.MethodGet, "/accounts/17"))
	})
	if err != nil {
		return err
	}
	b.progress("held: %d requests wait at plain Caddy", b.held)
	atPlain, err := b.hold(ctx, s, plain, slowPath, "", func() int { return int(s.upstream.waiting.Load()) }, func() error {
		close(s.upstream.release)
		return nil
	})
	if err != nil {
		return err
	}

	t := table{{"per request", "at the gate", "plain, slow application", "target", ""}}
	for _, row := range []struct {
		name string
		of   func(Memory) uint64
	}{
		{"heap", func(m Memory) uint64 { return m.Heap }},
		{"stacks", func(m Memory) uint64 { return m.Stack }},
		{"heap and stacks", func(m Memory) uint64 { return m.Heap + m.Stack }},
		{"resident memory of the process", func(m Memory) uint64 { return m.RSS }},
	} {
		line := []string{row.name, "", "", "", ""}
		for i, h := range []holdFigures{atGate, atPlain} {
			line[1+i] = inKiB(share(row.of(h.after), row.of(h.before), b.held))
		}
		if row.name == "heap and stacks" {
			each := share(row.of(atGate.after), row.of(atGate.before), b.held)
			line[3], line[4] = "≤ 40 KiB", verdict(each <= heldTarget)
		}
		t = append(t, line)
	}
	t = append(t,
		[]string{"goroutines", perRequest(atGate, b.held), perRequest(atPlain, b.held), "", ""},
		[]string{"answered: passed, denied, otherwise", atGate.outcome(), atPlain.outcome(), "all", verdict(atGate.otherwise == 0 && atGate.passed+atGate.denied == int64(b.held))},
	)
	b.print(fmt.Sprintf("Held: %d requests at once", b.held), t,
		fmt.Sprintf("POST with a body of some 200 bytes, a connection for each. At the gate, one in %d is approved in the end, the others are denied.", approvedOf))
	return nil
}

// holdFigures are what was measured of held requests.
type holdFigures struct {
	before, after             Memory
	passed, denied, otherwise int64
}

func (h holdFigures) outcome() string {
	return fmt.Sprintf("%d, %d, %d", h.passed, h.denied, h.otherwise)
}

func perRequest(h holdFigures, n int) string {
	return fmt.Sprintf("%.1f", float64(h.after.Goroutines-h.before.Goroutines)/float64(n))
}

// hold has a gateway hold requests of different people. arrived says how many
// have got as far as they get, release ends their wait.
func (b *bench) hold(ctx context.Context, s *site, g *gateway, path, profile string, arrived func() int, release func() error) (holdFigures, error) {
	var h holdFigures
	var err error
	if h.before, err = g.memory(); err != nil {
		return h, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var passing, denying, other atomic.Int64
	answers := make(chan error, b.held)
	for i := range b.held {
		p := newPerson(i, http.MethodPost, path)
		go func() {
			a, err := s.send(ctx, g, p)
			switch a {
			case passed:
				passing.Add(1)
			case denied:
				denying.Add(1)
			default:
				other.Add(1)
			}
			answers <- err
		}()
		if i%atOnce == 0 || i == b.held-1 {
			err := eventually(ctx, "requests to arrive", patience, func() (bool, error) {
				select {
				case err := <-answers:
					return false, errors.Join(err, fmt.Errorf("a request was answered that should be held\n%s", g.lastWords()))
				default:
					return arrived() > i, nil
				}
			})
			if err != nil {
				return h, err
			}
		}
	}
	// What the last ones still do at the gateway takes no longer.
	if err := pause(ctx, time.Second); err != nil {
		return h, err
	}
	if h.after, err = g.memory(); err != nil {
		return h, err
	}
	if profile != "" {
		if err := b.profileHeap(g, profile); err != nil {
			return h, err
		}
	}
	if err := release(); err != nil {
		return h, err
	}
	for range b.held {
		if err := <-answers; err != nil {
			return h, err
		}
	}
	h.passed, h.denied, h.otherwise = passing.Load(), denying.Load(), other.Load()
	return h, nil
}
