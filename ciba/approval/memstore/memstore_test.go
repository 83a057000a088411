package memstore_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/approval/memstore"
	"github.com/caddy-stepup/stepup/ciba/approval/storetest"
)

// clock is a time that only a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Harness {
		c := newClock()
		s := memstore.New(memstore.Config{Now: c.Now})
		return storetest.Harness{Store: s, Other: s, Tick: time.Second, Advance: c.Advance, Exact: true}
	})
}

func TestStore_isFullBeforeMemoryRunsOut(t *testing.T) {
	c := newClock()
	s := memstore.New(memstore.Config{Now: c.Now, MaxRecords: 2, MaxParked: 10})
	create := func(n byte) error {
		_, _, err := s.Create(t.Context(), approval.New{
			Ref:   approval.Ref{Owner: approval.Tag{n}, Key: approval.Key{n}, ID: "ID"},
			Lasts: time.Minute, Keep: time.Minute,
		})
		return err
	}
	for n := range byte(2) {
		if err := create(n); err != nil {
			t.Fatal(err)
		}
	}
	if err := create(2); !errors.Is(err, approval.ErrFull) {
		t.Errorf("a third record: %v, want ErrFull", err)
	}
	park := func(n byte, size int) error {
		return s.Park(t.Context(), approval.Ref{Owner: approval.Tag{n}, Key: approval.Key{n}, ID: "ID"}, make([]byte, size))
	}
	if err := park(0, 6); err != nil {
		t.Fatal(err)
	}
	if err := park(1, 5); !errors.Is(err, approval.ErrFull) {
		t.Errorf("11 bytes parked: %v, want ErrFull", err)
	}
	if err := park(0, 5); err != nil {
		t.Errorf("a smaller body in place of the first: %v", err)
	}
	if err := park(1, 5); err != nil {
		t.Errorf("10 bytes parked: %v", err)
	}
	// What goes makes room.
	c.Advance(2 * time.Minute)
	if err := create(2); err != nil {
		t.Errorf("after the others are gone: %v", err)
	}
	if err := park(2, 10); err != nil {
		t.Errorf("parking after the others are gone: %v", err)
	}
}
