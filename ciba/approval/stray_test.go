package approval_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// Law 6, where the engine that has the answer cannot store it for longer than
// its lease lasts, and another one takes over.
func TestPoller_waitsForAnAnswerThatAnotherEngineWasGiven(t *testing.T) {
	for name, c := range map[string]struct {
		away time.Duration
		want approval.State
	}{
		"that is stored in the end": {20 * time.Second, approval.Approved},
		"that is never stored":      {10 * time.Minute, approval.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				cut := &brittle{Store: w.store.Store}
				first := w.engine(func(c *approval.Config) { c.Store = cut })
				a := begin(t, first, binding(first))
				w.approve()
				time.Sleep(4 * time.Second)
				cut.failChange(approval.EventApprove, c.away)
				cut.fail("Extend", 100)
				time.Sleep(2 * time.Second) // until it has the answer
				cut.fail("Claim", 1000)
				second := w.engine(func(c *approval.Config) { c.Store = w.store.Store })
				wait(t, second, a, c.want)
			})
		})
	}
}

// Law 7, with a store that has gone back in time: what it holds for due was
// polled a moment ago.
func TestPoller_keepsTheIntervalWhenTheStoreHasForgottenThePoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		a := begin(t, e, binding(e))
		for range 5 {
			time.Sleep(5*time.Second + 50*time.Millisecond) // polled just now
			w.store.news(approval.News{Lost: true})
			w.store.news(approval.News{Gap: true})
			if err := w.store.Schedule(t.Context(), a.Ref, 0); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		var last time.Time
		for _, c := range w.broker.Log() {
			if c.Endpoint != cibatest.EndpointToken {
				continue
			}
			if pause := c.Started.Sub(last); c.Error == "slow_down" || pause < 5*time.Second {
				t.Errorf("polled after %v: %s", pause, c.Error)
			}
			last = c.Ended
		}
		if time.Since(last) > 6*time.Second {
			t.Errorf("the last poll was %v ago", time.Since(last))
		}
	})
}

// slow is a store whose answers to Get take their time, as for a process that
// stands still between claiming and polling.
type slow struct {
	approval.Store
	takes time.Duration
}

func (s *slow) Get(ctx context.Context, owner approval.Tag, key approval.Key) (approval.Record, error) {
	rec, err := s.Store.Get(ctx, owner, key)
	time.Sleep(s.takes)
	return rec, err
}

// Law 7, where an engine wakes up after its lease.
func TestPoller_doesNotPollUnderALeaseThatHasLapsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stuck := w.engine(func(c *approval.Config) { c.Store = &slow{w.store, 16 * time.Second} })
		a := begin(t, stuck, binding(stuck))
		time.Sleep(6 * time.Second) // until it has claimed
		other := w.engine()
		// The other takes over at 20 s, and is being answered when the first
		// one wakes.
		w.broker.Inject(cibatest.Fault{Endpoint: cibatest.EndpointToken, Latency: 3 * time.Second, Count: 1})
		time.Sleep(20 * time.Second)
		w.approve()
		wait(t, other, a, approval.Approved)
		var last time.Time
		for _, c := range w.broker.Log() {
			if c.Endpoint != cibatest.EndpointToken {
				continue
			}
			if pause := c.Started.Sub(last); c.Error == "slow_down" || pause < 5*time.Second {
				t.Errorf("polled %v after the last answer: %s", pause, c.Error)
			}
			last = c.Ended
		}
	})
}

// An engine that is closed while it waits for another's answer has no say.
func TestClose_endsTheWaitForAnAnswerOfAnotherEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cut := &brittle{Store: w.store.Store}
		first := w.engine(func(c *approval.Config) { c.Store = cut })
		b := binding(first)
		begin(t, first, b)
		w.approve()
		time.Sleep(4 * time.Second)
		cut.failChange(approval.EventApprove, time.Hour)
		cut.fail("Extend", 100)
		time.Sleep(2 * time.Second) // until it has the answer
		cut.fail("Claim", 1000)
		second := w.engine()
		time.Sleep(16 * time.Second) // until it knows that the answer was given
		began := time.Now()
		second.Close()
		if took := time.Since(began); took > time.Second {
			t.Errorf("closing took %v", took)
		}
		rec, err := first.Find(t.Context(), b)
		if err != nil || rec.State != approval.Pending {
			t.Errorf("%s, %v; want it pending still", rec.State, err)
		}
	})
}

// Whoever can disturb the store must not keep answers from being collected.
func TestPoller_collectsAnswersInTimesOfTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		a := begin(t, e, binding(e))
		w.approve()
		var troubled sync.WaitGroup
		troubled.Go(func() {
			for range 20 {
				time.Sleep(3 * time.Second)
				w.store.news(approval.News{Lost: true})
				w.store.news(approval.News{Gap: true})
			}
		})
		began := time.Now()
		wait(t, e, a, approval.Approved)
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("collected after %v", took)
		}
		troubled.Wait()
	})
}

// While it is not known whether the store has been set back nothing is polled,
// and no longer than that if it has not.
func TestPoller_goesOnAfterAFeedThatWasOnlySlow(t *testing.T) {
	for name, c := range map[string]struct {
		gap              approval.News
		earliest, latest time.Duration
	}{
		"the same server":    {approval.News{Gap: true, Same: true}, 6 * time.Second, 8 * time.Second},
		"never fresh again":  {approval.News{Lost: true}, 9 * time.Second, 13 * time.Second},
		"another one, maybe": {approval.News{Gap: true}, 11 * time.Second, 13 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				e := w.engine()
				a := begin(t, e, binding(e))
				w.approve()
				began := time.Now()
				time.Sleep(4 * time.Second)
				w.store.news(approval.News{Lost: true})
				time.Sleep(2 * time.Second)
				w.store.news(c.gap)
				wait(t, e, a, approval.Approved)
				if took := time.Since(began); took < c.earliest || took > c.latest {
					t.Errorf("collected after %v, want between %v and %v", took, c.earliest, c.latest)
				}
			})
		})
	}
}
