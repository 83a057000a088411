package ciba

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// source is a document that changes with every fetch.
type source struct {
	mu      sync.Mutex
	fetches int
	fresh   time.Duration
	delay   time.Duration
	err     error
}

func (s *source) fetch(ctx context.Context) (int, time.Duration, error) {
	s.mu.Lock()
	delay := s.delay
	s.fetches++
	n, err := s.fetches, s.err
	s.mu.Unlock()
	select {
	case <-time.After(delay):
		return n, s.fresh, err
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
}

func (s *source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func newCache(s *source) *cache[int] {
	return &cache[int]{fetch: s.fetch, now: time.Now, log: slog.New(slog.DiscardHandler)}
}

func wantValue(t *testing.T, c *cache[int], want int) {
	t.Helper()
	got, _, err := c.get(t.Context())
	if err != nil || got != want {
		t.Errorf("got document %d, error %v; want document %d", got, err, want)
	}
}

func TestCache_keepsDocumentWhileFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(&source{fresh: time.Hour})
		wantValue(t, c, 1)
		time.Sleep(time.Hour - 1)
		wantValue(t, c, 1)
		time.Sleep(1)
		wantValue(t, c, 2)
	})
}

// A provider that is down for less than a day does not stop what needs its
// documents, and is not hammered.
func TestCache_servesStaleDocumentWhileSourceIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{fresh: time.Hour}
		c := newCache(s)
		var log bytes.Buffer
		c.log = slog.New(slog.NewTextHandler(&log, nil))
		wantValue(t, c, 1)
		s.fail(errors.New("down"))
		time.Sleep(time.Hour)
		for range 10 {
			wantValue(t, c, 1)
		}
		if s.fetches != 2 {
			t.Errorf("%d fetches, want one more", s.fetches)
		}
		if !strings.Contains(log.String(), "stale") {
			t.Error("nothing was logged")
		}
		time.Sleep(24*time.Hour - 1)
		wantValue(t, c, 1)
		time.Sleep(failurePause)
		if _, _, err := c.get(t.Context()); err == nil {
			t.Error("document is used more than a day after it was fresh")
		}
		s.fail(nil)
		time.Sleep(failurePause)
		if got, _, err := c.get(t.Context()); err != nil || got < 2 {
			t.Errorf("got document %d, error %v after the source came back", got, err)
		}
	})
}

func TestCache_remembersFailureForSecondsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{fresh: time.Hour, err: errors.New("down")}
		c := newCache(s)
		for range 10 {
			if _, _, err := c.get(t.Context()); err == nil {
				t.Fatal("no error")
			}
		}
		if s.fetches != 1 {
			t.Errorf("%d fetches of a source that is down, want 1", s.fetches)
		}
		s.fail(nil)
		time.Sleep(failurePause)
		wantValue(t, c, 2)
	})
}

func TestCache_fetchesOnceForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{fresh: time.Hour, delay: time.Second}
		c := newCache(s)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { wantValue(t, c, 1) })
		}
		wg.Wait()
		if s.fetches != 1 {
			t.Errorf("%d fetches, want 1", s.fetches)
		}
	})
}

// While one caller waits for a slow source, the others go on with what is
// there.
func TestCache_doesNotWaitForSlowSourceWithStaleDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{fresh: time.Hour}
		c := newCache(s)
		wantValue(t, c, 1)
		s.delay = 10 * time.Second
		time.Sleep(time.Hour)
		var wg sync.WaitGroup
		wg.Go(func() { wantValue(t, c, 2) })
		synctest.Wait()
		before := time.Now()
		wantValue(t, c, 1)
		if waited := time.Since(before); waited != 0 {
			t.Errorf("waited %v", waited)
		}
		wg.Wait()
	})
}

// The one who began to fetch goes away: the others still get their document.
func TestCache_cancelledCallerDoesNotFailOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{fresh: time.Hour, delay: time.Second}
		c := newCache(s)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := c.get(ctx); err != context.Canceled {
				t.Errorf("cancelled caller got %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() { wantValue(t, c, 1) })
		synctest.Wait()
		cancel()
		wg.Wait()
	})
}

// Nobody waits any more: the fetch ends, and leaves no failure behind.
func TestCache_fetchEndsWhenAllHaveLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{fresh: time.Hour, delay: time.Hour}
		c := newCache(s)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := c.get(ctx); err != context.DeadlineExceeded {
			t.Errorf("got %v, want the caller's own deadline", err)
		}
		synctest.Wait()
		s.delay = 0
		wantValue(t, c, 2)
		// The bubble fails if a goroutine is left.
	})
}

func TestCache_renewsAtMostEvery30Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{fresh: time.Hour}
		c := newCache(s)
		wantValue(t, c, 1)
		for want := 2; want < 5; want++ {
			for range 10 {
				if got, err := c.renew(t.Context()); err != nil || got != want {
					t.Errorf("got document %d, error %v; want document %d", got, err, want)
				}
			}
			time.Sleep(30 * time.Second)
		}
		s.fail(errors.New("down"))
		for range 10 {
			if _, err := c.renew(t.Context()); err == nil {
				t.Error("failed renewal gave no error")
			}
		}
		if s.fetches != 5 {
			t.Errorf("%d fetches, want 5", s.fetches)
		}
		wantValue(t, c, 4)
	})
}

func TestFreshness(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"":                         time.Hour,
		"public":                   time.Hour,
		"max-age=7200":             2 * time.Hour,
		`Public, Max-Age="7200"`:   2 * time.Hour,
		"max-age=0":                5 * time.Minute,
		"max-age=7200, no-store":   5 * time.Minute,
		"no-cache":                 5 * time.Minute,
		"max-age=2147483647":       24 * time.Hour,
		"max-age=99999999999999":   time.Hour,
		"max-age=-1":               time.Hour,
		"s-maxage=10,max-age=1200": 20 * time.Minute,
	} {
		if got := freshness(http.Header{"Cache-Control": {header}}); got != want {
			t.Errorf("%q: got %v, want %v", header, got, want)
		}
	}
}
