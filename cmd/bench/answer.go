package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// answerInterval is the one that the broker has.
const answerInterval = 5 * time.Second

// answerTarget is the longest time, for all but one in a hundred, from a yes on
// the phone to the request's arrival at the application.
const answerTarget = answerInterval + 50*time.Millisecond

// answersPerSecond is how many people ask in a second.
const answersPerSecond = 40

// measureAnswer looks at how long a yes takes to let a held request through:
// two gateways share a Redis, and either may be the one that polls.
func measureAnswer(ctx context.Context, b *bench) error {
	c, err := b.newCrowd(ctx, b.answers, 2, answerInterval, true)
	defer c.stop()
	if err != nil {
		return err
	}
	b.progress("answer: %d people ask, %d in a second", b.answers, answersPerSecond)
	group, ctx := errgroup.WithContext(ctx)
	said := make(map[string]time.Time) // when which request was approved
	group.Go(func() (err error) {
		said, err = c.approveAtRandom(ctx)
		return err
	})
	for i, p := range c.people {
		group.Go(func() error {
			return c.expect(ctx, passed, c.at(i), p)
		})
		if pause(ctx, time.Second/answersPerSecond) != nil {
			break
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}

	collected := make(map[string]time.Time)
	for _, call := range c.broker.Log() {
		if call.Endpoint == cibatest.EndpointToken && call.Status == http.StatusOK {
			collected[call.AuthReqID] = call.Ended
		}
	}
	users := make(map[string]string) // by UUID
	for _, p := range c.people {
		users[p.uuid] = p.user
	}
	var fromYes, fromPoll []time.Duration
	more := 0
	for _, r := range c.broker.Requests() {
		arrivals := c.upstream.arrivals(users[r.UUID])
		if len(arrivals) != 1 {
			more++
			continue
		}
		fromYes = append(fromYes, arrivals[0].Sub(said[r.ID]))
		fromPoll = append(fromPoll, arrivals[0].Sub(collected[r.ID]))
	}
	b.print(fmt.Sprintf("Answer: from yes to the application, %d held requests", b.answers), table{
		{"", "p50 / p99 / max", "target", ""},
		{"from the yes on the phone", inCases(fromYes), "p99 ≤ " + inMillis(answerTarget), verdict(quantile(fromYes, 0.99) <= answerTarget)},
		{"from the broker's answer to the poll", inCases(fromPoll), "", ""},
		{"requests that did not arrive just once", fmt.Sprint(more), "0", verdict(more == 0)},
	}, fmt.Sprintf("Interval %v, two gateways on one Redis, %d requests in a second; each is approved at a random moment within two intervals.",
		answerInterval, answersPerSecond))
	return nil
}

// approveAtRandom has everybody say yes at a random moment within two intervals
// after they were asked. It returns when.
func (c *crowd) approveAtRandom(ctx context.Context) (map[string]time.Time, error) {
	group, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	said := make(map[string]time.Time)
	seen := 0 // requests never go away
	for seen < len(c.people) {
		requests := c.broker.Requests()
		for _, r := range requests[seen:] {
			at := r.CreatedAt.Add(rand.N(2 * c.interval))
			group.Go(func() error {
				if err := pause(ctx, time.Until(at)); err != nil {
					return err
				}
				mu.Lock()
				said[r.ID] = time.Now()
				mu.Unlock()
				return c.broker.Approve(r.ID)
			})
		}
		seen = len(requests)
		if pause(ctx, 50*time.Millisecond) != nil {
			break
		}
	}
	err := group.Wait()
	return said, err
}
