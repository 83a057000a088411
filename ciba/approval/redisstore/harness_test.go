package redisstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-stepup/stepup/ciba/approval/redisstore"
	"github.com/caddy-stepup/stepup/ciba/approval/storetest"
)

// open opens a store that is closed with the test.
func open(t testing.TB, o redisstore.Options) *redisstore.Store {
	t.Helper()
	o.Timeout = 20 * time.Second // of a machine that is busy with other tests
	s, err := redisstore.Open(o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// miniHarness is a store on a miniredis of its own, whose time the test sets.
func miniHarness(t *testing.T) storetest.Harness {
	m := miniredis.NewMiniRedis()
	now := time.Date(2026, 1, 2, 3, 4, 5, 678_000, time.UTC)
	m.SetTime(now)
	m.ClockTTL(true)
	if err := m.Start(); err != nil {
		t.Fatalf("starting miniredis: %v", err)
	}
	t.Cleanup(m.Close)
	// One connection each: another one would have goroutines in miniredis,
	// which the suite would take for the store's.
	handle := func() *redisstore.Store {
		client := redis.NewClient(&redis.Options{Addr: m.Addr(), ContextTimeoutEnabled: true, PoolSize: 1})
		t.Cleanup(func() { _ = client.Close() })
		s, err := redisstore.New(redisstore.Config{Client: client, Timeout: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return storetest.Harness{
		Store: handle(),
		Other: handle(),
		Tick:  time.Second,
		Exact: true,
		Advance: func(d time.Duration) {
			now = now.Add(d)
			m.SetTime(now)
		},
	}
}

// realHarness is a store on servers that are emptied first.
func realHarness(t *testing.T, o redisstore.Options, servers ...*redis.Client) storetest.Harness {
	for _, c := range servers {
		if err := c.FlushAll(t.Context()).Err(); err != nil {
			t.Fatalf("emptying Redis: %v", err)
		}
	}
	return storetest.Harness{
		Store:   open(t, o),
		Other:   open(t, o),
		Tick:    60 * time.Millisecond,
		Advance: func(d time.Duration) { pass(t, servers[0], d) },
	}
}

// pass waits until so much of a server's time has passed. A real server cannot
// be told to hurry, so this asks it for the time, again and again.
func pass(t testing.TB, c *redis.Client, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d+20*time.Second)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	var until time.Time
	for {
		now, err := c.Time(ctx).Result()
		if err != nil {
			t.Fatalf("asking Redis for the time: %v", err)
		}
		if until.IsZero() {
			until = now.Add(d)
		}
		if now.After(until) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal("the time of Redis does not pass")
		case <-again.C:
		}
	}
}

// The suite is not run at the same time as other tests: it looks for goroutines
// that are left.
func TestStore_onMiniredis(t *testing.T) {
	storetest.Run(t, miniHarness)
}
