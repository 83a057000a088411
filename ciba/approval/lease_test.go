package approval_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stepup/stepup/ciba"
	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// provider is the broker's client with a hand between it and the engine.
type provider struct {
	*ciba.Client
	start func(ctx context.Context, r ciba.Request) (ciba.Started, error)
	poll  func(ctx context.Context, authReqID string) (ciba.Tokens, error)
}

func (p provider) Start(ctx context.Context, r ciba.Request) (ciba.Started, error) {
	if p.start == nil {
		return p.Client.Start(ctx, r)
	}
	return p.start(ctx, r)
}

func (p provider) Poll(ctx context.Context, authReqID string) (ciba.Tokens, error) {
	if p.poll == nil {
		return p.Client.Poll(ctx, authReqID)
	}
	return p.poll(ctx, authReqID)
}

// with makes an engine use a provider.
func with(p provider) func(*approval.Config) {
	return func(c *approval.Config) { c.Provider = p }
}

// meter counts what is under way at once.
type meter struct {
	mu        sync.Mutex
	now, most int
}

func (m *meter) enter() (leave func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now++
	m.most = max(m.most, m.now)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.now--
	}
}

// A poll that takes longer than a lease stays this gateway's: the other one
// must not poll beside it (law 7).
func TestLease_isRenewedDuringALongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var polls meter
		slow := with(provider{Client: w.client, poll: func(ctx context.Context, id string) (ciba.Tokens, error) {
			defer polls.enter()()
			select {
			case <-time.After(40 * time.Second):
				return w.client.Poll(ctx, id)
			case <-ctx.Done():
				return ciba.Tokens{}, ctx.Err()
			}
		}})
		engines := []*approval.Engine{w.engine(slow), w.engine(slow)}
		a := begin(t, engines[0], binding(engines[0]))
		w.approve()
		wait(t, engines[1], a, approval.Approved)
		if polls.most != 1 {
			t.Errorf("%d polls at once, want 1", polls.most)
		}
	})
}

// What is not done when the lease is over must not overlap with what its next
// holder does.
func TestLease_endsThePollWhenItIsLost(t *testing.T) {
	for name, c := range map[string]struct {
		lose func(w *world, a approval.Approval) error
		ends time.Duration // after the poll began
	}{
		"moved by another": {func(w *world, a approval.Approval) error {
			return w.store.Store.Schedule(context.Background(), a.Ref, time.Hour)
		}, 5 * time.Second},
		"store away": {func(w *world, _ approval.Approval) error {
			w.store.fail("Extend", 1000)
			return nil
		}, 14 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				began, ended := make(chan time.Time, 100), make(chan time.Time, 100)
				e := w.engine(with(provider{Client: w.client, poll: func(ctx context.Context, _ string) (ciba.Tokens, error) {
					began <- time.Now()
					<-ctx.Done()
					ended <- time.Now()
					return ciba.Tokens{}, ctx.Err()
				}}))
				a := begin(t, e, binding(e))
				first := <-began
				if err := c.lose(w, a); err != nil {
					t.Fatal(err)
				}
				if took := (<-ended).Sub(first); took != c.ends {
					t.Errorf("the poll ended after %s, want %s", took, c.ends)
				}
			})
		})
	}
}

func TestPoller_boundsThePollsThatAreUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var polls meter
		e := w.engine(with(provider{Client: w.client, poll: func(ctx context.Context, id string) (ciba.Tokens, error) {
			defer polls.enter()()
			time.Sleep(time.Second)
			return w.client.Poll(ctx, id)
		}}), func(c *approval.Config) { c.MaxPolls = 2 })
		var all []approval.Approval
		for i := range 6 {
			b := binding(e)
			b.Policy = fmt.Sprint("policy ", i)
			all = append(all, begin(t, e, b))
			w.approve()
		}
		for _, a := range all {
			wait(t, e, a, approval.Approved)
		}
		if polls.most != 2 {
			t.Errorf("%d polls at once, want 2", polls.most)
		}
	})
}

func TestPoller_goesOnWhenTheStoreIsBack(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		calls  int
		within time.Duration
		says   string
	}{
		"claiming":           {"Claim", 20, 26 * time.Second, "claiming polls: answers wait"},
		"reading":            {"Get", 1, 7 * time.Second, ""},
		"giving back":        {"Extend", 25, 22 * time.Second, "it comes when the lease has lapsed"},
		"giving back, once":  {"Extend", 1, 11 * time.Second, ""},
		"taking out":         {"Drop", 1, 11 * time.Second, "taking an approval out of the queue"},
		"the first schedule": {"Schedule", 1, 31 * time.Second, "scheduling the first poll: it comes late"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				fail := func() { w.store.fail(c.method, c.calls) }
				e := w.engine(with(provider{Client: w.client, start: func(ctx context.Context, r ciba.Request) (ciba.Started, error) {
					fail() // the record and its schedule are there
					return w.client.Start(ctx, r)
				}}))
				a := begin(t, e, binding(e))
				if c.method == "Extend" {
					time.Sleep(6 * time.Second)
				}
				w.approve()
				began := time.Now()
				wait(t, e, a, approval.Approved)
				if took := time.Since(began); took > c.within {
					t.Errorf("the answer came after %s, want at most %s", took, c.within)
				}
				time.Sleep(time.Minute)
				if _, next, err := w.store.Claim(t.Context(), 0, time.Second); err != nil || next >= 0 {
					t.Errorf("the queue holds something that is due in %s, %v; want nothing", next, err)
				}
				logged := w.log.String()
				if n := strings.Count(logged, c.says); c.says != "" && n != 1 {
					t.Errorf("the log tells of it %d times, want once: %s", n, logged)
				}
				if c.method == "Claim" && !strings.Contains(logged, "approval store is back") {
					t.Error("the log does not tell that the store is back")
				}
			})
		})
	}
}

func TestPoller_goesOnWithThePartOfTheQueueThatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &parted{Store: w.store}
		store.here.Store(true)
		e := w.engine(func(c *approval.Config) { c.Store = store })
		a := begin(t, e, binding(e))
		w.approve()
		began := time.Now()
		wait(t, e, a, approval.Approved)
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("the answer came after %v, want an interval and a little", took)
		}
		store.other.Store(true)
		time.Sleep(time.Second)
		for _, says := range []string{`"msg":"claiming polls: answers wait`, `"msg":"approval store is back"`} {
			if n := strings.Count(w.log.String(), says); n != 1 {
				t.Errorf("%d lines say %q, want 1", n, says)
			}
		}
	})
}

// parted is a store whose queue has two parts, of which the other is empty. A part
// that is back may have gone back in time.
type parted struct {
	approval.Store
	here, other atomic.Bool
}

func (s *parted) Claim(ctx context.Context, limit int, lease time.Duration) ([]approval.Lease, time.Duration, error) {
	var leases []approval.Lease
	var err error
	next := time.Duration(-1)
	if s.here.Load() {
		if leases, next, err = s.Store.Claim(ctx, limit, lease); err != nil {
			return nil, 0, err
		}
	}
	switch here, other := s.here.Load(), s.other.Load(); {
	case !here && !other:
		return nil, 0, errBrittle
	case !here:
		return leases, next, &approval.IncompleteError{Away: "this part", Err: errBrittle}
	case !other:
		return leases, next, &approval.IncompleteError{Away: "the other", Err: errBrittle}
	}
	return leases, next, nil
}

// Law 7, where the parts of the queue come back one by one, or one goes while
// the other comes.
func TestPoller_waitsAfterEachPartOfTheQueueThatIsBack(t *testing.T) {
	for name, before := range map[string]bool{"both were away": false, "the other goes": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				s := &parted{Store: w.store}
				s.here.Store(true)
				s.other.Store(true)
				e := w.engine(func(c *approval.Config) { c.Store = s })
				a := begin(t, e, binding(e))
				time.Sleep(4200 * time.Millisecond) // between two looks at the queue
				s.here.Store(false)
				s.other.Store(before)
				time.Sleep(8 * time.Second)
				// Another gateway has polled, which this part has forgotten.
				if err := w.store.Schedule(t.Context(), a.Ref, 0); err != nil {
					t.Fatal(err)
				}
				s.other.Store(false)
				s.here.Store(true)
				back := time.Now()
				time.Sleep(time.Second)
				s.other.Store(true)
				time.Sleep(10 * time.Second)
				w.polledNotBefore(t, back.Add(5*time.Second), back)
			})
		})
	}
}

// Law 7, where no poll is to be had while the store is away.
func TestPoller_seesTroubleWithTheStoreWhileAllItsPollsAreUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine(func(c *approval.Config) { c.MaxPolls = 1 })
		begin(t, e, binding(e))
		time.Sleep(time.Second)
		b := binding(e)
		b.Policy = "another policy"
		other := begin(t, e, b)
		time.Sleep(3 * time.Second)
		w.broker.Inject(cibatest.Fault{Endpoint: cibatest.EndpointToken, Latency: 9 * time.Second, Count: 1})
		time.Sleep(4 * time.Second) // the first one's poll is under way, until it is 14 s
		w.store.fail("Claim", 1000)
		time.Sleep(3 * time.Second)
		w.store.heal()
		// Another gateway has polled for the second one, which the store has
		// forgotten.
		if err := w.store.Schedule(t.Context(), other.Ref, 0); err != nil {
			t.Fatal(err)
		}
		back := time.Now()
		const says = `"msg":"approval store is back"`
		time.Sleep(2 * time.Second)
		if strings.Contains(w.log.String(), says) {
			t.Error("the log says that the store is back, before anything could be claimed")
		}
		time.Sleep(8 * time.Second)
		w.polledNotBefore(t, back.Add(5*time.Second), back)
		if !strings.Contains(w.log.String(), says) {
			t.Error("the log does not say that the store is back")
		}
	})
}

// Law 7, where the store went back in time before the gateway came.
func TestPoller_waitsWhenItBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first := w.engine()
		a := begin(t, first, binding(first))
		time.Sleep(5500 * time.Millisecond)
		first.Close()
		if err := w.store.Schedule(t.Context(), a.Ref, 0); err != nil {
			t.Fatal(err)
		}
		w.engine()
		began := time.Now()
		time.Sleep(10 * time.Second)
		w.polledNotBefore(t, began.Add(5*time.Second), began)
	})
}

// A start that is under way is not polled, not dropped, and not lost.
func TestPoller_leavesAStartThatIsUnderWayAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.broker.Inject(cibatest.Fault{Endpoint: cibatest.EndpointStart, Latency: 8 * time.Second, Count: 1})
		e := w.engine()
		b := binding(e)
		go func() { _, _ = e.Begin(t.Context(), b, "", ask) }()
		time.Sleep(time.Second)
		a, err := e.Find(t.Context(), b)
		if err != nil || a.State != approval.Starting {
			t.Fatalf("%s, %v; want starting", a.State, err)
		}
		if err := w.store.Schedule(t.Context(), a.Ref, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		w.approve()
		wait(t, e, a, approval.Approved)
	})
}

func TestPoller_endsWhatItCannotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		a := begin(t, e, b)
		e.Close()
		other := w.engine(func(c *approval.Config) { c.Secret = []byte("the secret after a change") })
		time.Sleep(10 * time.Second)
		rec, err := w.store.Get(t.Context(), a.Owner, a.Key)
		if err != nil || rec.State != approval.Failed || rec.Reason != approval.ReasonUnreadable {
			t.Errorf("%s (%s), %v; want failed (unreadable)", rec.State, rec.Reason, err)
		}
		if _, err := other.Find(t.Context(), b); !errors.Is(err, approval.ErrNotFound) {
			t.Errorf("an engine with another secret finds it: %v", err)
		}
	})
}

// RFC 9110 §10.2.3: the broker may name the pause.
func TestPoller_waitsAsLongAsTheBrokerSays(t *testing.T) {
	for after, want := range map[string]time.Duration{"1": 10 * time.Second, "30": 30 * time.Second, "120": 2 * time.Minute} {
		t.Run(after, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				e := w.engine()
				a := begin(t, e, binding(e))
				w.broker.Inject(cibatest.Fault{
					Endpoint: cibatest.EndpointToken, Answer: cibatest.AnswerStatus, Status: 503, RetryAfter: after, Count: 1,
				})
				w.approve()
				wait(t, e, a, approval.Approved)
				var polls []time.Time
				for _, c := range w.broker.Log() {
					if c.Endpoint == cibatest.EndpointToken {
						polls = append(polls, c.Started)
					}
				}
				if got := polls[1].Sub(polls[0]); got < want || got > want+time.Second {
					t.Errorf("polled again after %s, want %s", got, want)
				}
			})
		})
	}
}

// Close does not wait for a store that is away.
func TestEngine_closeGivesUpAnAnswerThatCannotBeStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		begin(t, e, binding(e))
		w.store.failChange(approval.EventApprove, time.Hour)
		w.approve()
		time.Sleep(6 * time.Second)
		began := time.Now()
		e.Close()
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("closing took %s, want 5s", took)
		}
		if !strings.Contains(w.log.String(), "storing an answer: it is lost") {
			t.Error("the log does not tell that an answer was lost")
		}
	})
}

// A pause that is longer than the approval's life is kept all the same: the
// approval ends, and the broker is left alone.
func TestPoller_doesNotPollBeforeTheBrokerSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		a := begin(t, e, binding(e))
		w.broker.Inject(cibatest.Fault{
			Endpoint: cibatest.EndpointToken, Answer: cibatest.AnswerStatus, Status: 503, RetryAfter: "86400", Count: 1,
		})
		w.approve()
		wait(t, e, a, approval.Expired)
		polls := 0
		for _, c := range w.broker.Log() {
			if c.Endpoint == cibatest.EndpointToken {
				polls++
			}
		}
		if polls != 1 {
			t.Errorf("%d polls, want 1", polls)
		}
	})
}
