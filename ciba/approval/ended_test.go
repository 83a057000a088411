package approval_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// forgetful is a store that can be set back: an approval that was used is good
// again, as after a failover to a replica that had not heard of it.
type forgetful struct {
	approval.Store
	used  approval.Record
	again bool
}

func (s *forgetful) Spend(ctx context.Context, owner approval.Tag, key approval.Key, op string, presence time.Duration) (approval.Record, bool, error) {
	if s.again {
		return s.used, true, nil
	}
	rec, spent, err := s.Store.Spend(ctx, owner, key, op, presence)
	s.used = rec
	return rec, spent, err
}

// Law 8, with a store that does not keep its part.
func TestUse_isRefusedOnEveryGatewayWhenTheStoreHasForgottenThatItWas(t *testing.T) {
	for _, later := range []time.Duration{0, 9 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			store := &forgetful{Store: w.store}
			shared := func(c *approval.Config) { c.Store = store }
			first, second := w.engine(shared), w.engine(shared)
			synctest.Wait() // until both listen
			b := binding(first)
			a := begin(t, first, b)
			w.approve()
			wait(t, first, a, approval.Approved)
			if _, _, err := first.Use(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // until the news have arrived

			store.again = true
			time.Sleep(later)
			for name, e := range map[string]*approval.Engine{"the gateway that used it": first, "another gateway": second} {
				_, found, err := e.Use(t.Context(), b)
				if !errors.Is(err, approval.ErrNotApproved) || found.State != approval.Spent {
					t.Errorf("%s, %s later: %v, %s; want it refused as spent", name, later, err, found.State)
				}
			}
			if n := strings.Count(w.log.String(), "the store has lost what it was told last"); n != 2 {
				t.Errorf("%d log lines tell the operator, want 2", n)
			}
		})
	}
}

// restored is a store that can be set back to where a record was good.
type restored struct {
	approval.Store
	rec    *approval.Record
	silent bool // no news come

	cancels atomic.Int32
}

func (s *restored) Change(ctx context.Context, c approval.Change) (approval.Record, error) {
	if c.Event == approval.EventCancel {
		s.cancels.Add(1)
	}
	return s.Store.Change(ctx, c)
}

func (s *restored) Listen(ctx context.Context, f func(approval.News)) error {
	if s.silent {
		return errBrittle
	}
	return s.Store.Listen(ctx, f)
}

func (s *restored) Touch(ctx context.Context, owner approval.Tag, key approval.Key, presence time.Duration) (approval.Record, error) {
	if s.rec != nil {
		return *s.rec, nil
	}
	return s.Store.Touch(ctx, owner, key, presence)
}

// A revocation that the store has forgotten stays one.
func TestUse_isRefusedOnEveryGatewayWhenTheStoreHasForgottenARevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &restored{Store: w.store}
		shared := func(c *approval.Config) { c.Store = store }
		first, second := w.engine(shared), w.engine(shared)
		b, a := remembered(t, w, first)
		before, err := w.store.Get(t.Context(), a.Owner, a.Key)
		if err != nil {
			t.Fatal(err)
		}
		mustUse(t, first, b)
		mustUse(t, second, b)
		if _, err := first.Cancel(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // until the news have arrived
		store.rec = &before
		time.Sleep(10 * time.Minute)
		for name, e := range map[string]*approval.Engine{"the gateway that was told": first, "another gateway": second} {
			if _, found, err := e.Use(t.Context(), b); !errors.Is(err, approval.ErrNotApproved) || found.State != approval.Cancelled {
				t.Errorf("%s: %v, %s; want it refused as cancelled", name, err, found.State)
			}
		}
		if n := store.cancels.Load(); n != 3 {
			t.Errorf("the store was told %d times, want once at first, and again by each who knew better", n)
		}
	})
}

func TestUse_isRefusedWhereARevocationWasMadeAlsoWithoutNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &restored{Store: w.store, silent: true}
		e := w.engine(func(c *approval.Config) { c.Store = store })
		b, a := remembered(t, w, e)
		before, err := w.store.Get(t.Context(), a.Owner, a.Key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Cancel(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		store.rec = &before
		if _, _, err := e.Use(t.Context(), b); !errors.Is(err, approval.ErrNotApproved) {
			t.Errorf("after the revocation: %v, want ErrNotApproved", err)
		}
	})
}
