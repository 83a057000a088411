package redisstore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// channel is where changes are published.
func (s *Store) channel() string { return s.prefix + "news" }

// Listen implements [approval.Store]. It connects again, for as long as it
// takes, when the connection is lost or when nothing has been heard over it
// for a few seconds, and then reports a gap.
func (s *Store) Listen(ctx context.Context, f func(approval.News)) error {
	again := time.NewTicker(s.health / 4)
	defer again.Stop()
	for ctx.Err() == nil {
		s.feed(ctx, f)
		select {
		case <-ctx.Done():
		case <-again.C:
		}
	}
	return ctx.Err()
}

// feed hands on the messages of one connection, until that fails.
func (s *Store) feed(ctx context.Context, f func(approval.News)) {
	ctx, cancel := context.WithCancel(ctx)
	sub := s.client.Subscribe(ctx, s.channel())
	var heard atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		s.watch(ctx, sub, &heard)
		cancel() // lets go of a connection that is just being made
		_ = sub.Close()
	})
	defer wg.Wait()
	defer cancel()
	for {
		message, err := sub.Receive(ctx)
		if err != nil {
			return
		}
		heard.Store(true)
		switch m := message.(type) {
		case *redis.Subscription:
			// Also go-redis's own, should it have connected again unasked.
			f(approval.News{Gap: true})
		case *redis.Message:
			f(approval.News{ID: m.Payload})
		}
	}
}

// watch asks for signs of life until there is none, or ctx ends.
func (s *Store) watch(ctx context.Context, sub *redis.PubSub, heard *atomic.Bool) {
	tick := time.NewTicker(s.health)
	defer tick.Stop()
	for {
		if err := sub.Ping(ctx); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !heard.Swap(false) {
			return
		}
	}
}
