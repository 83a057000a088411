package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// channel is where changes are published.
func (s *Store) channel() string { return s.prefix + "news" }

// Signs of life of a feed, in units of Store.health: one for which nothing has
// been heard for so long is reported as lost, and one that stays so is taken
// for dead.
const (
	quietHealths = 2
	deadHealths  = 12
)

// errSilent says that nothing has been heard of Redis for some seconds.
var errSilent = errors.New("no sign of life of Redis")

// Listen implements [approval.Store]. It returns when the connection has
// failed, or when nothing has been heard over it for a few seconds.
func (s *Store) Listen(ctx context.Context, f func(approval.News)) error {
	err := (&feed{store: s, own: s.channel() + ":" + rand.Text(), tell: f, begins: true}).run(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("listening to Redis: %w", err)
}

// feed is one connection on which news come.
//
// Its signs of life are messages that it publishes itself, the way that calls
// go: a server that has been replaced without knowing it still answers to who
// has subscribed there, but what calls change is news elsewhere.
type feed struct {
	store *Store
	own   string // the channel of its signs of life

	mu    sync.Mutex // held while telling
	tell  func(approval.News)
	begun time.Time // of what signs of life count from
	heard time.Time // when the last one that came had been sent
	up    bool      // what was told last

	begins bool // nothing has been told yet
	fresh  bool // nor on this connection that the feed is up
}

// run hands on the messages, until the connection fails.
func (f *feed) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f.begun = time.Now()
	f.heard = f.begun
	f.fresh = true
	sub := f.store.client.Subscribe(ctx, f.store.channel(), f.own)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer f.lost()
	defer cancel(nil)
	wg.Go(func() { f.watch(ctx, cancel) })
	wg.Go(func() {
		<-ctx.Done() // lets go also of a connection that is just being made
		_ = sub.Close()
	})
	beating := false
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
			f.renewed()
			if !beating && m.Count == 2 { // to both
				beating = true
				wg.Go(func() { f.beat(ctx) })
			}
		case *redis.Message:
			if m.Channel == f.own {
				f.alive(m.Payload)
			} else {
				f.news(m.Payload)
			}
		}
	}
}

// news hands on a message: the ID of an approval that has changed and, behind a
// space, the Op of the change by which it has ended, if it was good. Until the
// first Gap was told, messages are dropped.
func (f *feed) news(message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.begins || message == "" {
		return
	}
	id, end, _ := strings.Cut(message, " ")
	f.tell(approval.News{ID: id, End: end})
}

// alive notes a sign of life. It says when it was sent: what comes late is as
// old as that.
func (f *feed) alive(sent string) {
	n, err := strconv.ParseInt(sent, 10, 64)
	if err != nil {
		return // somebody else's
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = f.begun.Add(time.Duration(n))
	if !f.up && !f.quiet() {
		n := approval.News{Gap: true, Trust: f.trust(), Same: !f.fresh && f.store.alone}
		f.up, f.begins, f.fresh = true, false, false
		f.tell(n)
	}
}

// clusterTrust is for how long a Cluster is relied on to have passed news on. Its
// nodes do so without a guarantee, and signs of life take one way of many.
const clusterTrust = 900 * time.Millisecond

func (f *feed) trust() time.Duration {
	if isCluster(f.store.client) {
		return clusterTrust
	}
	return 0
}

// quiet tells whether nothing has been heard for too long. It is called with
// mu held.
func (f *feed) quiet() bool { return time.Since(f.heard) > quietHealths*f.store.health }

// lost says that the feed is not up, unless it has been said.
func (f *feed) lost() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.up {
		f.up = false
		f.tell(approval.News{Lost: true})
	}
}

// renewed says that the connection is another one.
func (f *feed) renewed() {
	f.lost()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fresh = true
}

// beat sends signs of life. Those that do not arrive are missed by watch; one
// that takes longer to send would be too late.
func (f *feed) beat(ctx context.Context) {
	tick := time.NewTicker(f.store.health)
	defer tick.Stop()
	for {
		within, cancel := context.WithTimeout(ctx, quietHealths*f.store.health)
		f.store.client.Publish(within, f.own, int64(time.Since(f.begun)))
		cancel()
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
		quiet, silence := f.quiet(), time.Since(f.heard)
		f.mu.Unlock()
		if quiet {
			f.lost()
		}
		if silence > deadHealths*f.store.health {
			dead(errSilent)
			return
		}
	}
}
