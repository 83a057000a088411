package redisstore

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// channel is where changes are published.
func (s *Store) channel() string { return s.prefix + "news" }

// Signs of life of a feed, in units of Store.health: a feed that is quiet for
// so long is reported as lost, and one that stays so is taken for dead.
const (
	quietHealths = 3
	deadHealths  = 12
)

// Listen implements [approval.Store]. It connects again, for as long as it
// takes, when the connection is lost or when nothing has been heard over it
// for a few seconds.
func (s *Store) Listen(ctx context.Context, f func(approval.News)) error {
	again := time.NewTicker(2 * s.health)
	defer again.Stop()
	for ctx.Err() == nil {
		(&feed{store: s, tell: f}).run(ctx)
		select {
		case <-ctx.Done():
		case <-again.C:
		}
	}
	return ctx.Err()
}

// feed is one connection on which news come.
type feed struct {
	store *Store

	mu    sync.Mutex // held while telling
	tell  func(approval.News)
	heard time.Time // the last sign of life
	up    bool      // what was told last
}

// run hands on the messages, until the connection fails.
func (f *feed) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	sub := f.store.client.Subscribe(ctx, f.store.channel())
	var wg sync.WaitGroup
	wg.Go(func() {
		f.watch(ctx, sub)
		cancel() // lets go of a connection that is just being made
		_ = sub.Close()
	})
	defer f.lost()
	defer wg.Wait()
	defer cancel()
	for {
		message, err := sub.Receive(ctx)
		if err != nil {
			return
		}
		switch m := message.(type) {
		case *redis.Subscription:
			// Also go-redis's own, should it have connected again unasked.
			f.lost()
			f.alive("")
		case *redis.Message:
			f.alive(m.Payload)
		default:
			f.alive("")
		}
	}
}

// alive notes a sign of life, and hands on the news that it brought.
func (f *feed) alive(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = time.Now()
	if !f.up {
		f.up = true
		f.tell(approval.News{Gap: true})
	}
	if id != "" {
		f.tell(approval.News{ID: id})
	}
}

// lost says that the feed is not up, unless it has been said.
func (f *feed) lost() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.up {
		f.up = false
		f.tell(approval.News{Lost: true})
	}
}

// silence is how long there has been no sign of life.
func (f *feed) silence() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Since(f.heard)
}

// watch asks for signs of life until there is none, or ctx ends.
func (f *feed) watch(ctx context.Context, sub *redis.PubSub) {
	f.mu.Lock()
	f.heard = time.Now()
	f.mu.Unlock()
	tick := time.NewTicker(f.store.health)
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
		silence := f.silence()
		if silence > quietHealths*f.store.health {
			f.lost()
		}
		if silence > deadHealths*f.store.health {
			return
		}
	}
}
