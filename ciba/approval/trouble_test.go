package approval_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stepup/stepup/ciba"
	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// Trouble with the store is told as such, and starts nothing.
func TestEngine_tellsOfTroubleWithTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		a := begin(t, e, b)
		fresh := b
		fresh.Policy = "another policy"
		for name, c := range map[string]struct {
			methods []string
			call    func() error
		}{
			"Find":       {[]string{"Get", "Touch"}, func() error { _, err := e.Find(t.Context(), b); return err }},
			"FindHandle": {[]string{"Touch"}, func() error { _, err := e.FindHandle(t.Context(), b.Session, b.UUID, a.Handle()); return err }},
			"Begin":      {[]string{"Touch"}, func() error { _, err := e.Begin(t.Context(), fresh, "", ask); return err }},
			"queueing":   {[]string{"Schedule"}, func() error { _, err := e.Begin(t.Context(), fresh, "", ask); return err }},
			"creating":   {[]string{"Create"}, func() error { _, err := e.Begin(t.Context(), fresh, "", ask); return err }},
			"Cancel":     {[]string{"Change"}, func() error { _, err := e.Cancel(t.Context(), a); return err }},
			"Park":       {[]string{"Park"}, func() error { return e.Park(t.Context(), b.Session, a, approval.Parked{}) }},
			"Parked":     {[]string{"Parked"}, func() error { _, err := e.Parked(t.Context(), b.Session, a); return err }},
		} {
			for _, m := range c.methods {
				w.store.fail(m, 1)
			}
			if err := c.call(); !errors.Is(err, approval.ErrStore) {
				t.Errorf("%s: error %v, want ErrStore", name, err)
			}
			w.store.heal()
		}
		if w.pushes() != 1 {
			t.Errorf("%d pushes, want 1", w.pushes())
		}
	})
}

// A held request waits trouble out, and tells of it only when it lasts.
func TestEngine_waitOutlivesTroubleWithTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		a := begin(t, e, binding(e))
		w.store.fail("Touch", 3)
		w.approve()
		wait(t, e, a, approval.Approved)
		w.store.fail("Touch", 1000)
		began := time.Now()
		if _, err := e.Wait(t.Context(), a, 5*time.Second); !errors.Is(err, approval.ErrStore) || time.Since(began) != 5*time.Second {
			t.Errorf("error %v after %s, want ErrStore after 5s", err, time.Since(began))
		}
	})
}

func TestEngine_waitEndsWhenTheEngineDoesOrItsApprovalIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		a := begin(t, e, binding(e))
		gone := a
		gone.ID = "REPLACED"
		if _, err := e.Wait(t.Context(), gone, time.Hour); !errors.Is(err, approval.ErrNotFound) {
			t.Errorf("waiting for what was replaced: %v, want ErrNotFound", err)
		}
		time.AfterFunc(time.Second, e.Close)
		began := time.Now()
		if _, err := e.Wait(t.Context(), a, time.Hour); err != nil || time.Since(began) != time.Second {
			t.Errorf("the engine closes: %v after %s", err, time.Since(began))
		}
	})
}

// News that come only after a while: the other gateway has the answer, and the
// feed of this one is down, or up again.
func TestEngine_waitHearsOfAnswersThatAnotherGatewayHas(t *testing.T) {
	for name, c := range map[string]struct {
		down   int // failures of Listen, a second apart
		within time.Duration
	}{
		"feed down":    {1000, 16 * time.Second},
		"feed is back": {2, 6 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				deaf := &brittle{Store: w.store.Store}
				deaf.fail("Listen", c.down)
				deaf.fail("Claim", 1000)
				e := w.engine(func(cfg *approval.Config) { cfg.Store = deaf })
				a := begin(t, w.engine(), binding(e))
				time.Sleep(3 * time.Second)
				w.approve()
				began := time.Now()
				wait(t, e, a, approval.Approved)
				if took := time.Since(began); took > c.within {
					t.Errorf("took %s, want at most %s", took, c.within)
				}
				if !strings.Contains(w.log.String(), "news come late until it is back") {
					t.Error("the log does not tell that the feed is down")
				}
			})
		})
	}
}

// Thousands that all read at once are not what a feed needs that is slow.
func TestEngine_waitReadsAgainOnlyWhenNewsMayBeLost(t *testing.T) {
	for name, c := range map[string]struct {
		gap   approval.News
		reads int
	}{
		"the same server":    {approval.News{Gap: true, Same: true}, 0},
		"another one, maybe": {approval.News{Gap: true}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				e := w.engine()
				a := begin(t, e, binding(e))
				done := make(chan struct{})
				go func() {
					defer close(done)
					_, _ = e.Wait(t.Context(), a, 8*time.Second)
				}()
				time.Sleep(time.Second)
				before := w.store.count("Touch")
				w.store.news(approval.News{Lost: true})
				w.store.news(c.gap)
				time.Sleep(time.Second)
				if n := w.store.count("Touch") - before; n != c.reads {
					t.Errorf("read %d times, want %d", n, c.reads)
				}
				<-done
			})
		})
	}
}

// What is called off while the broker is being asked is taken back from the
// phone as soon as the broker has answered.
func TestEngine_cancelsAStartThatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.broker.Inject(cibatest.Fault{Endpoint: cibatest.EndpointStart, Latency: 5 * time.Second, After: true, Count: 1})
		e := w.engine()
		b := binding(e)
		begun := make(chan approval.Approval)
		go func() {
			a, err := e.Begin(t.Context(), b, "", ask)
			if err != nil {
				t.Error(err)
			}
			begun <- a
		}()
		time.Sleep(time.Second)
		a, err := e.Find(t.Context(), b)
		if err != nil || a.State != approval.Starting {
			t.Fatalf("%s, %v; want starting", a.State, err)
		}
		if a, err = e.Cancel(t.Context(), a); err != nil || a.State != approval.Cancelled {
			t.Fatalf("%s, %v", a.State, err)
		}
		if a = <-begun; a.State != approval.Cancelled {
			t.Errorf("the start ends as %s, want cancelled", a.State)
		}
		synctest.Wait()
		if got := w.broker.Requests()[0].State; got != cibatest.StateCancelled {
			t.Errorf("at the broker it is %s, want cancelled", got)
		}
	})
}

// An ended approval never becomes an approved one.
func TestEngine_cancelStandsAgainstAnAnswerThatIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.broker.Inject(cibatest.Fault{Endpoint: cibatest.EndpointToken, Latency: 3 * time.Second, After: true, Count: 1})
		e := w.engine()
		b := binding(e)
		a := begin(t, e, b)
		w.approve()
		time.Sleep(6 * time.Second) // the tokens are on their way
		if _, err := e.Cancel(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		a, err := e.Find(t.Context(), b)
		if err != nil || a.State != approval.Cancelled {
			t.Fatalf("%s, %v; want cancelled", a.State, err)
		}
		if w.broker.Requests()[0].State != cibatest.StateCollected {
			t.Error("no tokens were on their way")
		}
		if !strings.Contains(w.log.String(), "had ended otherwise") {
			t.Error("the log does not tell of the answer")
		}
	})
}

// Whoever goes away while the broker is being asked leaves a start that is
// recorded.
func TestEngine_recordsAStartWhoseClientHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.broker.Inject(cibatest.Fault{Endpoint: cibatest.EndpointStart, Latency: 5 * time.Second, Count: 1})
		e := w.engine()
		b := binding(e)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := e.Begin(ctx, b, "", ask); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that of the context", err)
		}
		time.Sleep(5 * time.Second)
		begin(t, e, b)
		if w.pushes() != 1 {
			t.Errorf("%d pushes, want 1", w.pushes())
		}
	})
}

func TestEngine_startsNothingThatCannotBeAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		refusal := errors.New("the text does not fit")
		for name, c := range map[string]struct {
			ask  func() (approval.Ask, error)
			want error
		}{
			"refused by the caller": {func() (approval.Ask, error) { return approval.Ask{}, refusal }, refusal},
			"without text":          {func() (approval.Ask, error) { a, err := ask(); a.Text = ""; return a, err }, nil},
			"text too long":         {func() (approval.Ask, error) { a, err := ask(); a.Text = strings.Repeat("x", 131); return a, err }, nil},
		} {
			b := binding(e)
			if _, err := e.Begin(t.Context(), b, "", c.ask); err == nil || c.want != nil && err != c.want {
				t.Errorf("%s: error %v", name, err)
			}
			if _, err := e.Find(t.Context(), b); !errors.Is(err, approval.ErrNotFound) {
				t.Errorf("%s: something is there: %v", name, err)
			}
		}
		if n := w.store.count("Create"); w.pushes() != 0 || n != 0 {
			t.Errorf("%d pushes, %d records; want none", w.pushes(), n)
		}
	})
}

// How a start ends that the broker refuses at once.
func TestEngine_endsAStartAsTheBrokerSays(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		state  approval.State
		reason approval.Reason
	}{
		"denied":        {ciba.ErrDenied, approval.Denied, ""},
		"unknown error": {ciba.ErrProvider, approval.Failed, approval.ReasonProvider},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.store.fail("Block", 1) // what a refusal does besides is a courtesy
				e := w.engine(with(provider{Client: w.client, start: func(context.Context, ciba.Request) (ciba.Started, error) {
					return ciba.Started{}, c.err
				}}))
				a, err := e.Begin(t.Context(), binding(e), "", ask)
				if err != nil || a.State != c.state || a.Reason != c.reason {
					t.Errorf("%s (%s), %v; want %s (%s)", a.State, a.Reason, err, c.state, c.reason)
				}
				if said := strings.Contains(w.log.String(), "the pause after it is lost"); said != (c.state == approval.Denied) {
					t.Errorf("the log tells of a lost pause: %t", said)
				}
			})
		})
	}
}

func TestErrors_sayWhatIsTheMatter(t *testing.T) {
	for want, err := range map[string]error{
		"too many approvals were asked for: wait 30s": &approval.LimitError{Wait: 30 * time.Second},
		approval.ErrBusy.Error():                      &approval.ConflictError{},
		"approval is spent: cannot approve it":        &approval.TransitionError{Event: approval.EventApprove, State: approval.Spent},
	} {
		if err.Error() != want {
			t.Errorf("%T says %q, want %q", err, err, want)
		}
	}
	if !errors.Is(&approval.ConflictError{}, approval.ErrBusy) {
		t.Error("a ConflictError is no ErrBusy")
	}
}

// An engine that is closed makes no more calls of the provider.
func TestCancel_refusesWhenTheEngineIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		a := begin(t, e, binding(e))
		e.Close()
		calls := len(w.broker.Log())
		if _, err := e.Cancel(t.Context(), a); !errors.Is(err, approval.ErrStore) {
			t.Errorf("error is %v, want ErrStore", err)
		}
		time.Sleep(time.Minute)
		if n := len(w.broker.Log()); n != calls {
			t.Errorf("%d calls of the broker, want none", n-calls)
		}
	})
}
