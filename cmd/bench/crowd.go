package main

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

const (
	// presence is how often somebody who waits is heard of, and behindTime how
	// much later that may be while others still ask.
	presence   = 90 * time.Second
	behindTime = 5 * time.Second

	// firstPolls is for how long a gateway that begins polls nothing, where the
	// interval is not longer.
	firstPolls = 4 * time.Second

	// absenceTarget is after how long without a sign the gate takes a question
	// back.
	absenceTarget = 2 * time.Minute
)

// approvedOf is one in how many gets yes for an answer; the others get no. The
// simulator signs two tokens for each yes, and has one CPU at most.
const approvedOf = 10

// crowd is many people who have each asked for an approval of their own, by
// turns at each gateway, and wait for it.
type crowd struct {
	*site
	gateways []*gateway
	redis    *redisServer // nil without
	people   []*person

	behind atomic.Int64 // how late the last sign of somebody was, in nanoseconds
	latest atomic.Int64 // how late one ever was
}

// newCrowd starts so many gateways for so many people. It is to be stopped
// also where it comes with an error.
func (b *bench) newCrowd(ctx context.Context, n, gateways int, interval time.Duration, withRedis bool) (*crowd, error) {
	c := new(crowd)
	var err error
	if c.site, err = newSite(interval); err != nil {
		return c, err
	}
	g := gate{Path: "/transfers", Store: "memory"}
	if withRedis {
		if c.redis, err = b.redis(ctx); err != nil {
			return c, err
		}
		g.Store = "redis " + c.redis.url
	}
	for range gateways {
		started, err := b.gateway(c.site, g)
		if err != nil {
			return c, err
		}
		c.gateways = append(c.gateways, started)
	}
	for i := range n {
		c.people = append(c.people, newPerson(i, http.MethodPost, "/transfers"))
	}
	return c, nil
}

func (c *crowd) stop() {
	for _, g := range c.gateways {
		g.stop()
	}
	if c.redis != nil {
		c.redis.stop()
	}
	if c.site != nil {
		c.site.stop()
	}
}

// at is the gateway where somebody asks.
func (c *crowd) at(i int) *gateway { return c.gateways[i%len(c.gateways)] }

// warmUp has one person ask at each gateway, so that what is there only once is
// there before the others come.
func (c *crowd) warmUp(ctx context.Context) error {
	return each(ctx, len(c.gateways), 1, func(ctx context.Context, i int) error {
		return c.start(ctx, c.at(i), c.people[i])
	})
}

// wait has everybody ask for an approval, and then be heard of often enough,
// until ctx ends. It calls started when all have asked. Nobody asks as long as
// the others are not heard of in time.
func (c *crowd) wait(ctx context.Context, started func()) error {
	const (
		asking = 32  // at once
		signs  = 256 // which are to be in time however slow each is
	)
	type sign struct {
		person int
		at     time.Time
	}
	last := make(chan sign, len(c.people)) // of each, the oldest first
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := each(ctx, len(c.people), asking, func(ctx context.Context, i int) error {
			for time.Duration(c.behind.Load()) > behindTime {
				if err := pause(ctx, behindTime/100); err != nil {
					return err
				}
			}
			at := time.Now()
			err := c.start(ctx, c.at(i), c.people[i])
			last <- sign{i, at}
			return err
		})
		if err == nil && ctx.Err() == nil {
			started()
		}
		return err
	})
	for range signs {
		group.Go(func() error {
			for {
				select {
				case s := <-last:
					due := s.at.Add(presence)
					if err := pause(ctx, time.Until(due)); err != nil {
						return err
					}
					at := time.Now()
					if _, err := c.state(ctx, c.at(s.person), c.people[s.person], 0); err != nil {
						return err
					}
					c.noteSign(time.Since(due))
					last <- sign{s.person, at}
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		})
	}
	if err := group.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil // they are not waited for any more
}

// noteSign takes down how late somebody is heard of.
func (c *crowd) noteSign(late time.Duration) {
	c.behind.Store(int64(late))
	for latest := c.latest.Load(); int64(late) > latest; latest = c.latest.Load() {
		if c.latest.CompareAndSwap(latest, int64(late)) {
			return
		}
	}
}

// resources asks all processes. Memory is measured only where it is asked for,
// because it makes the gateways collect their garbage.
func (c *crowd) resources(ctx context.Context, memory bool) (r resources, err error) {
	for _, g := range c.gateways {
		if memory {
			m, err := g.memory()
			if err != nil {
				return r, err
			}
			r.heap += m.Heap
		}
		spent, err := g.cpu()
		if err != nil {
			return r, err
		}
		r.gatewayCPU += spent
	}
	if c.redis == nil {
		return r, nil
	}
	if r.redisCPU, err = c.redis.cpu(ctx); err != nil {
		return r, err
	}
	r.redis, err = c.redis.memory(ctx)
	return r, err
}

// measure goes through everything that happens to a crowd: people ask, wait,
// decide, and send what they were asked about.
func (b *bench) measure(ctx context.Context, name string, c *crowd, window time.Duration) (f crowdFigures, err error) {
	f.people = len(c.people)
	if err := c.warmUp(ctx); err != nil {
		return f, err
	}
	if f.before, err = c.resources(ctx, true); err != nil {
		return f, err
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	present, leave := context.WithCancel(ctx)
	defer leave()
	all, gone := make(chan struct{}), make(chan struct{})
	begun := time.Now()
	go func() {
		defer close(gone)
		if err := c.wait(present, func() { close(all) }); err != nil {
			giveUp(err)
		}
	}()
	b.progress("%s: %d people ask", name, f.people)
	select {
	case <-all:
	case <-ctx.Done():
		return f, context.Cause(ctx)
	}
	f.starting = time.Since(begun)

	b.progress("%s: all have asked after %.1f s; first polls", name, f.starting.Seconds())
	if err := pause(ctx, max(c.interval, firstPolls)+time.Second); err != nil {
		return f, err
	}
	b.progress("%s: looking at polls for %v", name, window)
	if err := b.observe(ctx, name, c, window, &f); err != nil {
		return f, err
	}
	b.progress("%s: the people decide", name)
	yes, err := c.decide(ctx, &f)
	if err != nil {
		return f, err
	}
	leave()
	<-gone
	f.unheard = presence + time.Duration(c.latest.Load())
	b.progress("%s: the last answer was collected after %.1f s; everybody sends the request", name, f.ending.Seconds())
	err = c.finish(ctx, yes, &f)
	return f, err
}

// observe looks at polls for a while, and then at the memory in use.
func (b *bench) observe(ctx context.Context, name string, c *crowd, window time.Duration, f *crowdFigures) error {
	from := time.Now()
	started, err := c.resources(ctx, false)
	if err != nil {
		return err
	}
	err = b.profiled(c.gateways[0], name, func() error { return pause(ctx, window) })
	if err != nil {
		return err
	}
	ended, err := c.resources(ctx, false)
	if err != nil {
		return err
	}
	to := time.Now()
	f.window = to.Sub(from)
	f.spent = resources{gatewayCPU: ended.gatewayCPU - started.gatewayCPU, redisCPU: ended.redisCPU - started.redisCPU}
	f.punctual = judge(c.broker.Log(), c.broker.Requests(), c.interval, from, to)
	if f.after, err = c.resources(ctx, true); err != nil {
		return err
	}
	return b.profileHeap(c.gateways[0], name)
}

// decide has everybody decide at once, and waits until the gateways have
// collected that, or have not gone on with it for an interval and some
// patience. It returns who said yes, by UUID.
func (c *crowd) decide(ctx context.Context, f *crowdFigures) (yes map[string]bool, err error) {
	yes = make(map[string]bool)
	decided := time.Now()
	f.approved, f.refused, err = c.decideAll(func(i int, r cibatest.Request) bool {
		yes[r.UUID] = i%approvedOf == 0
		return yes[r.UUID]
	})
	if err != nil {
		return nil, err
	}
	last := decided
	for f.collected < f.approved+f.refused && time.Since(last) < c.interval+patience {
		if err := pause(ctx, max(c.interval/10, time.Second)); err != nil { // the log is long
			return nil, err
		}
		if collected, at := lastAnswers(c.broker.Log()); collected > 0 {
			f.collected, last = collected, at
		}
	}
	f.ending = last.Sub(decided)
	return yes, nil
}

// finish has everybody send their request once more, at another gateway than
// where it was started, and then looks at what reached the application.
func (c *crowd) finish(ctx context.Context, yes map[string]bool, f *crowdFigures) error {
	var mu sync.Mutex
	err := each(ctx, len(c.people), 32, func(ctx context.Context, i int) error {
		p := c.people[i]
		// The last answers may be on their way to the store.
		if _, err := c.state(ctx, c.at(i+1), p, 10); err != nil {
			return err
		}
		a, err := c.send(ctx, c.at(i+1), p, "Prefer", "respond-async")
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case a == passed && yes[p.uuid]:
			f.passed++
		case a == denied && !yes[p.uuid]:
			f.turnedOff++
		default:
			f.otherwise++
		}
		return nil
	})
	for _, p := range c.people {
		f.forwarded += len(c.upstream.arrivals(p.user))
	}
	return err
}
