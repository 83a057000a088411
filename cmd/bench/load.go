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
	cost    []cost       // of a request, by round
}

// oneTime says whether each request needs an approval of its own.
func (x *subject) oneTime() bool { return x.gated && x.gate.Remember == "" }

// cost is CPU time.
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

// measureLoad compares gateways with plain Caddy, in rounds.
func measureLoad(ctx context.Context, b *bench) error {
	subjects := loadSubjects()
	for round := range b.rounds {
		b.progress("load: round %d of %d", round+1, b.rounds)
		if err := b.measureRound(ctx, subjects, round == b.rounds-1); err != nil {
			return err
		}
	}
	b.print("Load: what the gate adds to a request that may pass", loadTable(subjects), fmt.Sprintf(
		"CPU by the processes' own accounting. Medians of %d rounds with processes of their own, %d requests each, %d at a time; "+
			"ratios of gateway and Redis together to plain `reverse_proxy` in the same round. Within noise: the quartiles overlap those of plain against itself.",
		b.rounds, b.requests, b.concurrency))
	return nil
}

// measureRound starts all processes anew: two that do the same differ by several
// percent for as long as they live, by where they lie in memory. If profiles are
// wanted, they are made in the last round.
func (b *bench) measureRound(ctx context.Context, subjects []*subject, last bool) error {
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
	if _, err := b.measureTurn(ctx, s, subjects, 0); err != nil { // to warm up
		return err
	}
	costs, err := b.measureTurn(ctx, s, subjects, 1)
	if err != nil {
		return err
	}
	for i, x := range subjects {
		x.cost = append(x.cost, costs[i])
	}
	if b.profile == "" || !last {
		return nil
	}
	return b.profileTurn(ctx, s, subjects, 2)
}

// slicesPerTurn is in how many parts the requests of a turn are sent, so that
// what else the machine does for some seconds meets all alike.
const slicesPerTurn = 10

// measureTurn measures in slices and random order, and returns what a request to
// each has cost.
func (b *bench) measureTurn(ctx context.Context, s *site, subjects []*subject, turn int) ([]cost, error) {
	people := make([][]*person, len(subjects))
	for i, x := range subjects {
		var err error
		if people[i], err = b.people(ctx, s, x, turn); err != nil {
			return nil, fmt.Errorf("%s: %w", x.name, err)
		}
	}
	for _, x := range subjects {
		if err := x.gateway.collect(); err != nil {
			return nil, fmt.Errorf("%s: %w", x.name, err)
		}
	}
	costs := make([]cost, len(subjects))
	for slice := range slicesPerTurn {
		from, to := slice*b.requests/slicesPerTurn, (slice+1)*b.requests/slicesPerTurn
		for _, i := range rand.Perm(len(subjects)) {
			c, err := b.measureSlice(ctx, s, subjects[i], people[i], from, to)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", subjects[i].name, err)
			}
			costs[i].gateway += c.gateway
			costs[i].redis += c.redis
		}
	}
	for i := range costs {
		costs[i].gateway /= time.Duration(b.requests)
		costs[i].redis /= time.Duration(b.requests)
	}
	return costs, nil
}

// measureSlice returns what some of the requests of a turn have cost.
func (b *bench) measureSlice(ctx context.Context, s *site, x *subject, people []*person, from, to int) (cost, error) {
	before, err := x.cpu(ctx)
	if err != nil {
		return cost{}, err
	}
	if err := b.send(ctx, s, x, people, from, to); err != nil {
		return cost{}, err
	}
	after, err := x.cpu(ctx)
	return cost{after.gateway - before.gateway, after.redis - before.redis}, err
}

// profileTurn writes a profile of each gateway.
func (b *bench) profileTurn(ctx context.Context, s *site, subjects []*subject, turn int) error {
	for _, x := range subjects {
		people, err := b.people(ctx, s, x, turn)
		if err == nil {
			name := "load-" + strings.ReplaceAll(strings.ReplaceAll(x.name, ",", ""), " ", "-")
			err = b.profiled(x.gateway, name, func() error { return b.send(ctx, s, x, people, 0, b.requests) })
		}
		if err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
	}
	return nil
}

// people are who send the requests of a turn. Where each needs an approval of
// its own, they have got it, and are others in each turn.
func (b *bench) people(ctx context.Context, s *site, x *subject, turn int) ([]*person, error) {
	if !x.oneTime() {
		return x.people, nil
	}
	people := make([]*person, b.requests)
	for i := range people {
		people[i] = newPerson((turn+1)*b.requests+i, x.method, x.path)
	}
	return people, s.approveAll(ctx, x.gateway, people)
}

// send sends some of the requests of a turn.
func (b *bench) send(ctx context.Context, s *site, x *subject, people []*person, from, to int) error {
	return each(ctx, to-from, b.concurrency, func(ctx context.Context, i int) error {
		return s.expect(ctx, passed, x.gateway, people[(from+i)%len(people)])
	})
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
