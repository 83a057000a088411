package approval_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// Law 4: identical requests join, at this gateway and at another.
func TestEngine_pushesOnceForIdenticalRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		remove := w.broker.Inject(cibatest.Fault{Endpoint: cibatest.EndpointStart, Latency: 3 * time.Second})
		defer remove()
		engines := []*approval.Engine{w.engine(), w.engine()}
		b := binding(engines[0])
		ids := make(chan string, 100)
		for i := range 100 {
			go func() {
				e := engines[i%2]
				a, err := e.Begin(t.Context(), b, "", ask)
				if err != nil || !a.State.Waiting() {
					t.Errorf("joining: %s, %v", a.State, err)
				}
				ids <- a.ID
			}()
		}
		first := <-ids
		for range 99 {
			if id := <-ids; id != first {
				t.Errorf("approval %s beside %s", id, first)
			}
		}
		if w.pushes() != 1 {
			t.Errorf("%d pushes, want 1", w.pushes())
		}
	})
}

func TestEngine_tellsHowAStartFailed(t *testing.T) {
	for name, c := range map[string]struct {
		config func(*cibatest.Config)
		fault  *cibatest.Fault
		state  approval.State
		reason approval.Reason
		again  bool // after RetryTime, the same request may start anew
	}{
		"broker down":  {nil, &cibatest.Fault{Endpoint: cibatest.EndpointStart, Answer: cibatest.AnswerStatus}, approval.Failed, approval.ReasonUnavailable, true},
		"answer lost":  {nil, &cibatest.Fault{Endpoint: cibatest.EndpointStart, Answer: cibatest.AnswerDrop, After: true}, approval.Failed, approval.ReasonUnavailable, true},
		"HTML":         {nil, &cibatest.Fault{Endpoint: cibatest.EndpointStart, Answer: cibatest.AnswerHTML}, approval.Failed, approval.ReasonUnavailable, true},
		"wrong client": {func(c *cibatest.Config) { c.ClientID, c.ClientSecret = "other", "other" }, nil, approval.Failed, approval.ReasonMisconfigured, true},
		"unknown user": {func(c *cibatest.Config) { c.KnownUUIDs = []string{otherUUID} }, nil, approval.Failed, approval.ReasonUnknownUser, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var adjust []func(*cibatest.Config)
				if c.config != nil {
					adjust = append(adjust, c.config)
				}
				w := newWorld(t, adjust...)
				if c.fault != nil {
					defer w.broker.Inject(*c.fault)()
				}
				e := w.engine()
				b := binding(e)
				a, err := e.Begin(t.Context(), b, "", ask)
				if err != nil {
					t.Fatal(err)
				}
				if a.State != c.state || a.Reason != c.reason {
					t.Fatalf("%s (%s), want %s (%s)", a.State, a.Reason, c.state, c.reason)
				}
				starts := func() (n int) {
					for _, call := range w.broker.Log() {
						if call.Endpoint == cibatest.EndpointStart {
							n++
						}
					}
					return n
				}
				if starts() != 1 {
					t.Errorf("%d starts, want 1: a start is never repeated", starts())
				}
				if again, err := e.Begin(t.Context(), b, "", ask); err != nil || again.ID != a.ID || starts() != 1 {
					t.Errorf("asking again at once: %v, %d starts", err, starts())
				}
				time.Sleep(approval.RetryTime + time.Second)
				again, err := e.Begin(t.Context(), b, "", ask)
				if err != nil || (again.ID != a.ID) != c.again {
					t.Errorf("asking again later: %v, new %t, want %t", err, again.ID != a.ID, c.again)
				}
			})
		})
	}
}

// A gateway that dies between the start and its record leaves a failure
// behind, and no approval that nobody looks after.
func TestEngine_leavesNoStartBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.store.failChange(approval.EventStarted, time.Hour)
		e := w.engine()
		b := binding(e)
		begun, err := e.Begin(t.Context(), b, "", ask)
		if err != nil || begun.State != approval.Failed || begun.Reason != approval.ReasonUnavailable {
			t.Fatalf("%s (%s), %v; want failed (provider_unavailable)", begun.State, begun.Reason, err)
		}
		synctest.Wait()
		if got := w.broker.Requests()[0].State; got != cibatest.StateCancelled {
			t.Errorf("at the broker it is %s, want cancelled: nobody would collect the answer", got)
		}
		time.Sleep(time.Minute)
		a, err := e.Find(t.Context(), b)
		if err != nil || a.State != approval.Failed || a.Reason != approval.ReasonInterrupted {
			t.Errorf("%s (%s), %v; want failed (interrupted)", a.State, a.Reason, err)
		}
	})
}

// Two requests at once would make a person approve without knowing which.
func TestEngine_asksAPersonForOneThingAtATimeUnderAPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e, elsewhere := w.engine(), w.engine()
		b := binding(e)
		first := begin(t, e, b)

		second := b
		second.Request = []byte("POST /transfers amount=900&to=Mallory")
		conflict := (*approval.ConflictError)(nil)
		if _, err := elsewhere.Begin(t.Context(), second, "", ask); !errors.As(err, &conflict) {
			t.Fatalf("error %v, want a ConflictError", err)
		}
		if conflict.Other.ID != first.ID || conflict.Other.Text != testText {
			t.Errorf("in conflict with %s, %q", conflict.Other.ID, conflict.Other.Text)
		}
		second.Session = e.NewSession()
		second.User = "alice, by another name"
		if _, err := e.Begin(t.Context(), second, "", ask); !errors.As(err, &conflict) || conflict.Other.Text != "" {
			t.Errorf("another session: error %v, is told %q", err, conflict.Other.Text)
		}
		if w.pushes() != 1 {
			t.Fatalf("%d pushes, want 1", w.pushes())
		}

		for name, change := range map[string]func(*approval.Binding){
			"another policy": func(b *approval.Binding) { b.Policy = "salaries v1" },
			"another person": func(b *approval.Binding) { b.UUID = otherUUID },
		} {
			free := second
			change(&free)
			if a, err := e.Begin(t.Context(), free, "", ask); err != nil || a.State != approval.Pending {
				t.Errorf("%s: %s, %v", name, a.State, err)
			}
		}

		// The end of the first makes room.
		if err := w.broker.Deny(w.broker.Requests()[0].ID); err != nil {
			t.Fatal(err)
		}
		wait(t, e, first, approval.Denied)
		time.Sleep(30 * time.Second)
		begin(t, e, second)
	})
}

func TestEngine_supersedesWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		first := begin(t, e, b)
		second := b
		second.Request = []byte("POST /transfers amount=200&to=Bob")
		a, err := e.Begin(t.Context(), second, "", func() (approval.Ask, error) {
			a, err := ask()
			a.Supersede = true
			return a, err
		})
		if err != nil || a.State != approval.Pending {
			t.Fatalf("%s, %v", a.State, err)
		}
		synctest.Wait()
		if got := w.broker.Requests()[0].State; got != cibatest.StateCancelled {
			t.Errorf("the first is %s at the broker, want cancelled", got)
		}
		if first, err = e.Find(t.Context(), b); err != nil || first.State != approval.Cancelled {
			t.Errorf("the first is %s, %v", first.State, err)
		}
	})
}
