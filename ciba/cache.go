package ciba

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// How long fetched documents live.
const (
	defaultFresh = time.Hour        // where the provider does not say
	minFresh     = 5 * time.Minute  // whatever it says
	maxFresh     = 24 * time.Hour   // whatever it says
	maxStale     = 24 * time.Hour   // beyond that, while it cannot be fetched
	failurePause = 3 * time.Second  // between a failure and the next try
	renewPause   = 30 * time.Second // between two renewals before the time
)

// cache holds one document that is fetched over the network. It fetches when
// asked for a value, one fetch at a time for all who ask, and has no goroutine
// while nobody asks.
type cache[T any] struct {
	// fetch gets a value, and how long it stays fresh.
	fetch func(context.Context) (T, time.Duration, error)
	now   func() time.Time
	log   *slog.Logger

	mu         sync.Mutex
	value      T
	fetchedAt  time.Time // zero: there is no value
	freshUntil time.Time
	err        error // of the last fetch, nil if it succeeded
	failedAt   time.Time
	renewedAt  time.Time
	flight     *flight[T]
}

// flight is one fetch and those who wait for it.
type flight[T any] struct {
	waiters int // guarded by cache.mu
	cancel  context.CancelFunc
	done    chan struct{} // closed when value and err are set
	value   T
	err     error
}

// get returns the value and when it was fetched. It fetches a value that is
// not fresh, and falls back to the stale one where it cannot.
func (c *cache[T]) get(ctx context.Context) (T, time.Time, error) {
	c.mu.Lock()
	now := c.now()
	usable := !c.fetchedAt.IsZero() && now.Before(c.freshUntil.Add(maxStale))
	pausing := c.err != nil && now.Sub(c.failedAt) < failurePause
	if usable && (now.Before(c.freshUntil) || c.flight != nil || pausing) {
		defer c.mu.Unlock()
		return c.value, c.fetchedAt, nil
	}
	if pausing && c.flight == nil {
		defer c.mu.Unlock()
		var none T
		return none, time.Time{}, c.err
	}
	stale, staleAt := c.value, c.fetchedAt
	value, err := c.wait(ctx)
	if err != nil && usable && ctx.Err() == nil {
		c.log.LogAttrs(ctx, slog.LevelWarn, "using a stale document because it cannot be fetched", slog.String("error", err.Error()))
		return stale, staleAt, nil
	}
	return value, now, err
}

// renew fetches the value though it is fresh, but not within renewPause of the
// last renewal: then it returns what that brought, value or error.
func (c *cache[T]) renew(ctx context.Context) (T, error) {
	c.mu.Lock()
	if c.flight == nil {
		now := c.now()
		if now.Sub(c.renewedAt) < renewPause {
			defer c.mu.Unlock()
			return c.value, c.err
		}
		c.renewedAt = now
	}
	return c.wait(ctx)
}

// wait joins the flight, and starts one if there is none. It is called with
// c.mu held, and releases it.
//
// A flight is not bound to the context of the call that started it, so that one
// caller's end does not fail the others; it is cancelled when the last has left.
func (c *cache[T]) wait(ctx context.Context) (T, error) {
	f := c.flight
	if f == nil {
		fctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight[T]{cancel: cancel, done: make(chan struct{})}
		c.flight = f
		go c.fly(fctx, f)
	}
	f.waiters++
	c.mu.Unlock()

	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		if f.waiters--; f.waiters == 0 {
			f.cancel()
			if c.flight == f {
				c.flight = nil
			}
		}
		var none T
		return none, ctx.Err()
	}
}

// fly carries out a flight and keeps what it brought.
func (c *cache[T]) fly(ctx context.Context, f *flight[T]) {
	defer f.cancel()
	value, fresh, err := c.fetch(ctx)

	c.mu.Lock()
	defer c.mu.Unlock()
	f.value, f.err = value, err
	close(f.done)
	if c.flight != f {
		return // everybody left
	}
	c.flight = nil
	c.err = err
	now := c.now()
	if err != nil {
		c.failedAt = now
		return
	}
	c.value, c.fetchedAt, c.freshUntil = value, now, now.Add(fresh)
}

// freshness reads how long an answer may be kept from its Cache-Control (RFC
// 9111 §5.2.2), within the bounds above.
func freshness(h http.Header) time.Duration {
	fresh := defaultFresh
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return minFresh
		case "max-age":
			if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				fresh = time.Duration(seconds) * time.Second
			}
		}
	}
	return min(max(fresh, minFresh), maxFresh)
}
