package approval_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stepup/stepup/ciba"
	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// A start that the store left half on record does not stand in the way of the
// next one when the store is back, and whoever has joined it is told why.
func TestBegin_takesBackAStartThatIsHalfOnRecord(t *testing.T) {
	for name, trouble := range map[string]func(*brittle){
		"counting fails":               func(s *brittle) { s.fail("Take", 1) },
		"the answer to Create is lost": func(s *brittle) { s.lose("Create", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				e := w.engine()
				b := binding(e)
				trouble(w.store)
				w.store.failChange(approval.EventFail, 3*time.Second)
				if _, err := e.Begin(t.Context(), b, "", ask); !errors.Is(err, approval.ErrStore) {
					t.Fatalf("error is %v, want ErrStore", err)
				}
				joined, err := e.Begin(t.Context(), b, "", ask)
				if err != nil || joined.State != approval.Starting {
					t.Fatalf("%s, %v; want starting", joined.State, err)
				}
				if joined = wait(t, e, joined, approval.Failed); joined.Reason != approval.ReasonUnasked {
					t.Errorf("reason is %s, want not_asked", joined.Reason)
				}
				time.Sleep(2 * time.Second)
				begin(t, e, b)
				if w.pushes() != 1 {
					t.Errorf("%d pushes, want 1", w.pushes())
				}
			})
		})
	}
}

// delayed is a store whose first Create comes to it only after the caller has
// given up.
type delayed struct {
	approval.Store
	once sync.Once
}

func (s *delayed) Create(ctx context.Context, n approval.New) (rec approval.Record, created bool, err error) {
	err = errBrittle
	s.once.Do(func() {
		time.AfterFunc(time.Second, func() { _, _, _ = s.Store.Create(context.WithoutCancel(ctx), n) })
	})
	return rec, created, err
}

func TestBegin_takesBackARecordThatIsMadeLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		late := w.engine(func(c *approval.Config) { c.Store = &delayed{Store: w.store} })
		e := w.engine()
		b := binding(e)
		if _, err := late.Begin(t.Context(), b, "", ask); !errors.Is(err, approval.ErrStore) {
			t.Fatalf("error is %v, want ErrStore", err)
		}
		time.Sleep(2 * time.Second)
		if a, err := e.Find(t.Context(), b); err != nil || a.State != approval.Starting {
			t.Fatalf("%s, %v; want starting", a.State, err)
		}
		time.Sleep(5 * time.Second)
		begin(t, e, b)
	})
}

// Law 4: after a refusal, nothing is asked before the person wants it. Whatever
// becomes of a restart, the next request by itself is none.
func TestBegin_remembersARefusalWhenARestartIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		a := begin(t, e, b)
		if err := w.broker.Deny(w.requestID()); err != nil {
			t.Fatal(err)
		}
		a = wait(t, e, a, approval.Denied)
		time.Sleep(time.Minute) // the pause after it
		w.store.lose("Create", 1)
		if _, err := e.Begin(t.Context(), b, a.ID, ask); !errors.Is(err, approval.ErrStore) {
			t.Fatalf("error is %v, want ErrStore", err)
		}
		time.Sleep(2 * time.Second)
		a, err := e.Begin(t.Context(), b, "", ask)
		if err != nil || a.State != approval.Failed || w.pushes() != 1 {
			t.Fatalf("%s, %v, %d pushes; want failed, 1 push", a.State, err, w.pushes())
		}
		if a, err = e.Begin(t.Context(), b, a.ID, ask); err != nil || a.State != approval.Pending {
			t.Errorf("asked for, it is %s, %v; want pending", a.State, err)
		}
	})
}

// frozen is a store whose first Take is answered late, as for a process that
// stands still.
type frozen struct {
	approval.Store
	takes time.Duration
	once  sync.Once
}

func (s *frozen) Take(ctx context.Context, counter approval.Tag, r approval.Rate) (time.Duration, error) {
	d, err := s.Store.Take(ctx, counter, r)
	s.once.Do(func() { time.Sleep(s.takes) })
	return d, err
}

// Law 4: when this gateway is late, the person may have been asked by another.
func TestBegin_asksNobodyWhenItsRecordMayHaveLapsed(t *testing.T) {
	for name, late := range map[string]func(*world, *approval.Config){
		"it stood still before it began to ask": func(w *world, c *approval.Config) {
			c.Store = &frozen{Store: w.store, takes: 32 * time.Second}
		},
		"it stood still while it began to ask": func(w *world, c *approval.Config) {
			c.Provider = provider{Client: w.client, start: func(ctx context.Context, r ciba.Request) (ciba.Started, error) {
				time.Sleep(32 * time.Second)
				return w.client.Start(ctx, r)
			}}
		},
		"store and provider are slow": func(w *world, c *approval.Config) {
			c.Store = &frozen{Store: w.store, takes: 9500 * time.Millisecond}
			w.broker.Inject(cibatest.Fault{Endpoint: cibatest.EndpointDiscovery, Latency: 9 * time.Second, Count: 1})
			w.broker.Inject(cibatest.Fault{Endpoint: cibatest.EndpointStart, Latency: 19 * time.Second, Count: 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				slow := w.engine(func(c *approval.Config) { late(w, c) })
				e := w.engine()
				b := binding(e)
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					if a, err := slow.Begin(t.Context(), b, "", ask); err == nil && a.State.Live() {
						t.Errorf("the late one is %s", a.State)
					}
				}()
				time.Sleep(31 * time.Second)
				a, err := e.Find(t.Context(), b)
				if err != nil || a.State != approval.Failed {
					t.Fatalf("%s, %v; want failed", a.State, err)
				}
				if a, err = e.Begin(t.Context(), b, a.ID, ask); err != nil || a.State != approval.Pending {
					t.Fatalf("%s, %v; want pending", a.State, err)
				}
				<-ended
				if w.pushes() != 1 {
					t.Errorf("%d pushes, want 1", w.pushes())
				}
				w.approve()
				wait(t, e, a, approval.Approved)
			})
		})
	}
}

// What the broker says may come too late to be recorded, and the phone would ring
// for nothing.
func TestBegin_asksNobodyWhenTheStoreWasSlow(t *testing.T) {
	for name, restart := range map[string]bool{"the first time": false, "after a refusal": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				e := w.engine()
				b := binding(e)
				pushes, id := 0, ""
				if restart {
					a := begin(t, e, b)
					if err := w.broker.Deny(w.requestID()); err != nil {
						t.Fatal(err)
					}
					pushes, id = 1, wait(t, e, a, approval.Denied).ID
					time.Sleep(time.Minute) // the pause after it
				}
				slow := w.engine(func(c *approval.Config) { c.Store = &frozen{Store: w.store, takes: 11 * time.Second} })
				if _, err := slow.Begin(t.Context(), b, id, ask); !errors.Is(err, approval.ErrStore) {
					t.Errorf("error is %v, want ErrStore", err)
				}
				if w.pushes() != pushes {
					t.Errorf("%d pushes, want %d", w.pushes(), pushes)
				}
				time.Sleep(2 * time.Second)
				a, err := e.Begin(t.Context(), b, "", ask)
				if err != nil || a.State.Live() == restart {
					t.Errorf("asked again, it is %s, %v", a.State, err)
				}
			})
		})
	}
}

// repeating is a store that is asked to Create once more, as Redis is when an
// answer was lost, after something else was done.
type repeating struct {
	approval.Store
	between func()
}

func (s *repeating) Create(ctx context.Context, n approval.New) (approval.Record, bool, error) {
	if rec, created, err := s.Store.Create(ctx, n); err != nil || !created {
		return rec, created, err
	}
	s.between()
	return s.Store.Create(ctx, n)
}

func TestBegin_doesNotAskWhatWasCalledOffMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		elsewhere := w.engine()
		b := binding(elsewhere)
		e := w.engine(func(c *approval.Config) {
			c.Store = &repeating{w.store, func() {
				a, err := elsewhere.Find(t.Context(), b)
				if err == nil {
					_, err = elsewhere.Cancel(t.Context(), a)
				}
				if err != nil {
					t.Error(err)
				}
			}}
		})
		if a, err := e.Begin(t.Context(), b, "", ask); err != nil || a.State != approval.Cancelled {
			t.Errorf("%s, %v; want cancelled", a.State, err)
		}
		if w.pushes() != 0 {
			t.Errorf("%d pushes, want none", w.pushes())
		}
	})
}
