package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// subject is one of the gateways that are measured side by side.
type subject struct {
	name         string
	gate         gate
	gated        bool // whether the gate selects the requests
	onRedis      bool
	method, path string
	partner      *subject // what it is compared with; nil for plain ones
	target       target

	gateway *gateway
	redis   *redisServer // nil without
	people  []*person    // who take turns, where there is no approval for each request
	cost    []cost       // by round
}

// oneTime says whether each request needs an approval of its own.
func (x *subject) oneTime() bool { return x.gated && x.gate.Remember == "" }

// cost is the CPU for one request.
type cost struct{ gateway, redis time.Duration }

func (c cost) total() time.Duration { return c.gateway + c.redis }

// target is what the ratio to plain Caddy should be. noise is the same ratio of
// plain Caddy to itself.
type target struct {
	name string
	met  func(ratio, noise quartiles) bool // nil where there is nothing to meet
}

func atMost(limit float64) target {
	return target{fmt.Sprintf("≤ %.2f", limit), func(ratio, _ quartiles) bool { return ratio.median <= limit }}
}

// withinNoise is for what should cost nothing: where the quartiles overlap,
// nothing was measured.
var withinNoise = target{"1.00 within noise", func(ratio, noise quartiles) bool { return ratio.lower <= noise.upper }}

// users is how many people take turns.
const users = 100

// loadSubjects are what is compared. The second one shows the noise.
func loadSubjects() []*subject {
	const get, post = http.MethodGet, http.MethodPost
	const accounts, transfers = "/accounts/17", "/transfers"
	remembered := gate{Path: "/accounts/*", Store: "memory", Remember: "1h"}
	elsewhere := gate{Path: "/admin/*", Store: "memory", Remember: "1h"}
	plainGet := &subject{name: "plain, GET", method: get, path: accounts}
	plainPost := &subject{name: "plain, POST", method: post, path: transfers}
	return []*subject{
		plainGet,
		{name: "plain again, GET", method: get, path: accounts, partner: plainGet, target: target{name: "shows the noise"}},
		{name: "untouched, GET", gate: elsewhere, method: get, path: accounts, partner: plainGet, target: withinNoise},
		{name: "remembered, memory, GET", gate: remembered, gated: true, method: get, path: accounts, partner: plainGet, target: atMost(1.1)},
		{name: "remembered, Redis, GET", gate: remembered, gated: true, onRedis: true, method: get, path: accounts, partner: plainGet, target: atMost(1.1)},
		plainPost,
		{name: "one-time, Redis, POST", gate: gate{Path: transfers}, gated: true, onRedis: true, method: post, path: transfers, partner: plainPost, target: atMost(2)},
	}
}

// generation is how many rounds the processes live. Two processes that do the
// same differ by several percent for as long as they live, by where they lie in
// memory.
const generation = 3

// measureLoad compares gateways with plain Caddy, in rounds and within a round
// in random order, so that what else the machine does meets all alike.
func measureLoad(ctx context.Context, b *bench) error {
	subjects := loadSubjects()
	for from := 0; from < b.rounds; from += generation {
		if err := b.measureGeneration(ctx, subjects, from, min(from+generation, b.rounds)); err != nil {
			return err
		}
	}
	b.print("Load: what the gate adds to a request that may pass", loadTable(subjects), fmt.Sprintf(
		"CPU by the processes' own accounting. Medians of %d rounds, %d requests each, %d at a time, with new processes every %d rounds; "+
			"ratios of gateway and Redis together to plain `reverse_proxy` in the same round. Within noise: the quartiles overlap those of plain against itself.",
		b.rounds, b.requests, b.concurrency, generation))
	return nil
}

// measureGeneration measures some of the rounds, with processes of their own.
func (b *bench) measureGeneration(ctx context.Context, subjects []*subject, from, to int) error {
	s, err := newSite(time.Second)
	if err != nil {
		return err
	}
	defer s.stop()
	defer func() {
		for _, x := range subjects {
			x.stop()
		}
	}()
	for i, x := range subjects {
		if err := b.startSubject(ctx, s, x, i*users); err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
	}
	for round := from; round <= to; round++ {
		warmUp := round == from
		if warmUp {
			b.progress("load: new processes warm up")
		} else {
			b.progress("load: round %d of %d", round, b.rounds)
		}
		for _, i := range rand.Perm(len(subjects)) {
			x := subjects[i]
			c, err := b.slice(ctx, s, x, round-from)
			if err != nil {
				return fmt.Errorf("%s: %w", x.name, err)
			}
			if !warmUp {
				x.cost = append(x.cost, c)
			}
		}
	}
	return nil
}

// startSubject starts the processes, and gets the approvals that all requests
// share. The people are numbered from first on.
func (b *bench) startSubject(ctx context.Context, s *site, x *subject, first int) (err error) {
	if x.onRedis {
		if x.redis, err = b.redis(ctx); err != nil {
			return err
		}
		x.gate.Store = "redis " + x.redis.url
	}
	if x.gateway, err = b.gateway(s, x.gate); err != nil || x.oneTime() {
		return err
	}
	for i := range users {
		x.people = append(x.people, newPerson(first+i, x.method, x.path))
	}
	if !x.gated {
		return nil
	}
	return s.approveAll(ctx, x.gateway, x.people)
}

func (x *subject) stop() {
	if x.gateway != nil {
		x.gateway.stop()
	}
	if x.redis != nil {
		x.redis.stop()
	}
	x.gateway, x.redis, x.people = nil, nil, nil
}

// loadTable compares what was measured with the targets.
func loadTable(subjects []*subject) table {
	noise := spread(subjects[1].ratios())
	t := table{{"CPU per request", "gateway", "Redis", "× plain", "quartiles", "target", ""}}
	for _, x := range subjects {
		var gateway, redis []time.Duration
		for _, c := range x.cost {
			gateway, redis = append(gateway, c.gateway), append(redis, c.redis)
		}
		row := []string{x.name, inMicros(median(gateway)), "", "", "", x.target.name, ""}
		if x.onRedis {
			row[2] = inMicros(median(redis))
		}
		if x.partner != nil {
			q := spread(x.ratios())
			row[3], row[4] = fmt.Sprintf("%.2f", q.median), fmt.Sprintf("%.2f to %.2f", q.lower, q.upper)
			if x.target.met != nil {
				row[6] = verdict(x.target.met(q, noise))
			}
		}
		t = append(t, row)
	}
	return t
}

// slice sends requests, and returns what one has cost. If profiles are wanted,
// the one of the last round is kept.
func (b *bench) slice(ctx context.Context, s *site, x *subject, round int) (c cost, err error) {
	people := x.people
	if x.oneTime() {
		people = make([]*person, b.requests)
		for i := range people {
			people[i] = newPerson((round+1)*b.requests+i, x.method, x.path)
		}
		if err := s.approveAll(ctx, x.gateway, people); err != nil {
			return c, err
		}
	}
	if err := x.gateway.collect(); err != nil {
		return c, err
	}
	before, err := x.cpu(ctx)
	if err != nil {
		return c, err
	}
	file := "load-" + strings.ReplaceAll(strings.ReplaceAll(x.name, ",", ""), " ", "-")
	err = b.profiled(x.gateway, file, func() error {
		return each(ctx, b.requests, b.concurrency, func(ctx context.Context, i int) error {
			return s.expect(ctx, passed, x.gateway, people[i%len(people)])
		})
	})
	if err != nil {
		return c, err
	}
	after, err := x.cpu(ctx)
	n := time.Duration(b.requests)
	return cost{(after.gateway - before.gateway) / n, (after.redis - before.redis) / n}, err
}

// cpu is what the gateway and its Redis have spent so far.
func (x *subject) cpu(ctx context.Context) (c cost, err error) {
	if c.gateway, err = x.gateway.cpu(); err != nil || x.redis == nil {
		return c, err
	}
	c.redis, err = x.redis.cpu(ctx)
	return c, err
}

// ratios are the costs over those of the partner in the same round.
func (x *subject) ratios() []float64 {
	r := make([]float64, len(x.cost))
	for i, c := range x.cost {
		r[i] = float64(c.total()) / float64(x.partner.cost[i].total())
	}
	return r
}
