package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
	quietHealths = 2
	deadHealths  = 12
)

// errSilent says that nothing has been heard of Redis for some seconds.
var errSilent = errors.New("no sign of life of Redis")

// Listen implements [approval.Store]. It returns when the connection has
// failed, or when nothing has been heard over it for a few seconds.
func (s *Store) Listen(ctx context.Context, f func(approval.News)) error {
	err := (&feed{store: s, tell: f}).run(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("listening to Redis: %w", err)
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
func (f *feed) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f.heard = time.Now()
	sub := f.store.client.Subscribe(ctx, f.store.channel())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer f.lost()
	defer cancel(nil)
	wg.Go(func() { f.ping(ctx, sub) })
	wg.Go(func() { f.watch(ctx, cancel) })
	wg.Go(func() {
		<-ctx.Done() // lets go also of a connection that is just being made
		_ = sub.Close()
	})
	for {
		message, err := sub.Receive(ctx)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
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

// alive notes a sign of life, and hands on the news that it brought: the ID of
// an approval that has changed and, behind a space, the Op of the Spend if it
// was one.
func (f *feed) alive(message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = time.Now()
	if !f.up {
		f.up = true
		f.tell(approval.News{Gap: true})
	}
	if message != "" {
		id, use, _ := strings.Cut(message, " ")
		f.tell(approval.News{ID: id, Use: use})
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

// ping asks for signs of life.
func (f *feed) ping(ctx context.Context, sub *redis.PubSub) {
	tick := time.NewTicker(f.store.health)
	defer tick.Stop()
	for sub.Ping(ctx) == nil {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// watch waits for signs of life to fail. It does not touch the connection,
// which may be stuck.
func (f *feed) watch(ctx context.Context, dead context.CancelCauseFunc) {
	tick := time.NewTicker(f.store.health / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f.mu.Lock()
		silence := time.Since(f.heard)
		f.mu.Unlock()
		if silence > quietHealths*f.store.health {
			f.lost()
		}
		if silence > deadHealths*f.store.health {
			dead(errSilent)
			return
		}
	}
}
