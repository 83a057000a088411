package approval_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stepup/stepup/ciba"
	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

func TestEngine_letsOneRequestPassAfterApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		a := begin(t, e, b)
		if a.Text != testText || a.Code != "K7PX" || a.Interval != 5*time.Second {
			t.Errorf("pending approval %+v", a)
		}
		if got := time.Until(a.ExpiresAt); got != 300*time.Second {
			t.Errorf("expires in %s, want 300s", got)
		}
		if _, _, err := e.Use(t.Context(), b); !errors.Is(err, approval.ErrNotApproved) {
			t.Fatalf("using a pending approval: error %v, want ErrNotApproved", err)
		}
		asked := w.broker.Requests()[0]
		if asked.UUID != testUUID || asked.Text != testText || asked.IP != "192.0.2.7" || asked.Action != "APPROVE" || asked.ReferenceID != a.ID {
			t.Errorf("the broker was asked %+v", asked)
		}
		w.approve()
		a = wait(t, e, a, approval.Approved)
		g, _, err := e.Use(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		if g.ApprovalID != a.ID || g.UUID != testUUID || g.TransactionID == "" || time.Since(g.ApprovedAt) > 10*time.Second {
			t.Errorf("grant %+v", g)
		}
		if _, _, err := e.Use(t.Context(), b); !errors.Is(err, approval.ErrNotApproved) {
			t.Errorf("using it again: error %v, want ErrNotApproved", err)
		}
		if again, err := e.Begin(t.Context(), b, "", ask); err != nil || again.State != approval.Spent || w.pushes() != 1 {
			t.Errorf("the same request again: %s, %v, %d pushes; want spent, and one push", again.State, err, w.pushes())
		}
	})
}

// One use means one use, over all gateways (law 8).
func TestEngine_spendsOnceAmongManyRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		engines := []*approval.Engine{w.engine(), w.engine()}
		b := binding(engines[0])
		a := begin(t, engines[0], b)
		w.approve()
		a = wait(t, engines[1], a, approval.Approved)
		var mu sync.Mutex
		passed := 0
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				if _, _, err := engines[i%2].Use(t.Context(), b); err == nil {
					mu.Lock()
					passed++
					mu.Unlock()
				} else if !errors.Is(err, approval.ErrNotApproved) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if passed != 1 {
			t.Errorf("%d requests passed, want 1", passed)
		}
	})
}

func TestEngine_endsAsTheBrokerSays(t *testing.T) {
	for name, c := range map[string]struct {
		act    func(w *world, id string) error
		state  approval.State
		reason approval.Reason
	}{
		"denied":          {func(w *world, id string) error { return w.broker.Deny(id) }, approval.Denied, ""},
		"expired":         {func(*world, string) error { return nil }, approval.Expired, ""},
		"MitID error":     {func(w *world, id string) error { return w.broker.Fail(id, "mitid_flex_app.mitid_error_APP001") }, approval.Failed, approval.ReasonProvider},
		"invalid_request": {func(w *world, id string) error { return w.broker.Fail(id, "invalid_request") }, approval.Failed, approval.ReasonMisconfigured},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				e := w.engine()
				b := binding(e)
				a := begin(t, e, b)
				if err := c.act(w, w.requestID()); err != nil {
					t.Fatal(err)
				}
				a = wait(t, e, a, c.state)
				if a.Reason != c.reason {
					t.Errorf("reason %q, want %q", a.Reason, c.reason)
				}
				if _, _, err := e.Use(t.Context(), b); !errors.Is(err, approval.ErrNotApproved) {
					t.Errorf("using it: %v, want ErrNotApproved", err)
				}

				// Nothing is pushed until the person asks again (law 4).
				again, err := e.Begin(t.Context(), b, "", ask)
				if err != nil || again.ID != a.ID || w.pushes() != 1 {
					t.Errorf("the same request again: %v, new %t, %d pushes", err, again.ID != a.ID, w.pushes())
				}
				if other, err := e.Begin(t.Context(), b, "SOMETHINGELSE", ask); err != nil || other.ID != a.ID {
					t.Errorf("restart of something else: %v, new %t", err, other.ID != a.ID)
				}
				time.Sleep(30 * time.Second) // the pause after a refusal
				restarted, err := e.Begin(t.Context(), b, a.ID, ask)
				if err != nil || restarted.ID == a.ID || restarted.State != approval.Pending || w.pushes() != 2 {
					t.Errorf("restart: %v, %s, %d pushes", err, restarted.State, w.pushes())
				}
				// A double click on the button.
				double, err := e.Begin(t.Context(), b, a.ID, ask)
				if err != nil || double.ID != restarted.ID || w.pushes() != 2 {
					t.Errorf("second restart: %v, other approval %t, %d pushes", err, double.ID != restarted.ID, w.pushes())
				}
			})
		})
	}
}

// A token that fails a check ends the approval as failed (laws 1 and 5).
func TestEngine_refusesTokensThatFailVerification(t *testing.T) {
	for _, fault := range []cibatest.TokenFault{
		cibatest.TokenForeignKey, cibatest.TokenAlgNone, cibatest.TokenWrongAud,
		cibatest.TokenWrongUUID, cibatest.TokenWrongText, cibatest.TokenExpired,
	} {
		t.Run(fmt.Sprint(fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				e := w.engine()
				w.broker.Inject(cibatest.Fault{Endpoint: cibatest.EndpointToken, Token: fault})
				b := binding(e)
				a := begin(t, e, b)
				w.approve()
				a = wait(t, e, a, approval.Failed)
				if a.Reason != approval.ReasonVerification {
					t.Errorf("reason %q, want %q", a.Reason, approval.ReasonVerification)
				}
				if _, _, err := e.Use(t.Context(), b); !errors.Is(err, approval.ErrNotApproved) {
					t.Errorf("using it: %v", err)
				}
			})
		})
	}
}

func TestEngine_requiresTheLevelOfAssurance(t *testing.T) {
	for claim, want := range map[string]approval.State{
		"": approval.Failed,
		"https://data.gov.dk/concept/core/nsis/Low":         approval.Failed,
		"https://data.gov.dk/concept/core/nsis/Substantial": approval.Approved,
		"https://data.gov.dk/concept/core/nsis/High":        approval.Approved,
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(c *cibatest.Config) {
					c.TokenClaims = func(claims map[string]any, _ cibatest.Request) {
						if claim != "" {
							claims["loa"] = claim
						}
					}
				})
				e := w.engine()
				a, err := e.Begin(t.Context(), binding(e), "", func() (approval.Ask, error) {
					a, err := ask()
					a.LoA = ciba.LoASubstantial
					return a, err
				})
				if err != nil {
					t.Fatal(err)
				}
				w.approve()
				wait(t, e, a, want)
			})
		})
	}
}

func TestEngine_remembersAndForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		b.Request = nil
		remember := func() (approval.Ask, error) {
			a, err := ask()
			a.Remember = 20 * time.Minute
			return a, err
		}
		if _, err := e.Begin(t.Context(), b, "", ask); err == nil {
			t.Error("an approval to be remembered for no time was started")
		}
		a, err := e.Begin(t.Context(), b, "", remember)
		if err != nil {
			t.Fatal(err)
		}
		w.approve()
		a = wait(t, e, a, approval.Approved)
		for range 3 {
			if _, _, err := e.Use(t.Context(), b); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(19 * time.Minute)
		if a, err = e.Find(t.Context(), b); err != nil || a.State != approval.Approved {
			t.Errorf("after 19 minutes: %s, %v", a.State, err)
		}
		time.Sleep(time.Minute)
		if _, err = e.Find(t.Context(), b); !errors.Is(err, approval.ErrNotFound) {
			t.Errorf("after 20 minutes: %v, want ErrNotFound", err)
		}
	})
}

func TestEngine_forgetsAnApprovalThatIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		a := begin(t, e, b)
		w.approve()
		wait(t, e, a, approval.Approved)
		time.Sleep(5 * time.Minute)
		a, err := e.Find(t.Context(), b)
		if err != nil || a.State != approval.Expired {
			t.Fatalf("%s, %v; want expired", a.State, err)
		}
		if _, _, err := e.Use(t.Context(), b); !errors.Is(err, approval.ErrNotApproved) {
			t.Errorf("using it: %v", err)
		}
	})
}

// An approval that was read while it was good is not good for ever.
func TestEngine_refusesAStaleReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		a := begin(t, e, b)
		w.approve()
		a = wait(t, e, a, approval.Approved)
		time.Sleep(6 * time.Minute)
		if _, _, err := e.Use(t.Context(), b); !errors.Is(err, approval.ErrNotApproved) {
			t.Errorf("using it: %v, want ErrNotApproved", err)
		}
	})
}

func TestEngine_cancelsHereAndAtTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		a := begin(t, e, b)
		a, err := e.Cancel(t.Context(), a)
		if err != nil || a.State != approval.Cancelled {
			t.Fatalf("%s, %v", a.State, err)
		}
		synctest.Wait()
		if got := w.broker.Requests()[0].State; got != cibatest.StateCancelled {
			t.Errorf("at the broker it is %s", got)
		}
		if again, err := e.Cancel(t.Context(), a); err != nil || again.State != approval.Cancelled {
			t.Errorf("again: %s, %v", again.State, err)
		}
		// What comes too late changes nothing.
		time.Sleep(time.Minute)
		if a, err := e.Find(t.Context(), b); err != nil || a.State != approval.Cancelled {
			t.Errorf("later: %s, %v", a.State, err)
		}
	})
}

func TestEngine_showsAnApprovalByHandleOnlyToItsSessionAndPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newWorld(t).engine()
		b := binding(e)
		a := begin(t, e, b)
		if found, err := e.FindHandle(t.Context(), b.Session, b.UUID, a.Handle()); err != nil || found.ID != a.ID {
			t.Errorf("its own session: %v", err)
		}
		for name, find := range map[string]func() (approval.Approval, error){
			"other session": func() (approval.Approval, error) {
				return e.FindHandle(t.Context(), e.NewSession(), b.UUID, a.Handle())
			},
			"other person": func() (approval.Approval, error) {
				return e.FindHandle(t.Context(), b.Session, otherUUID, a.Handle())
			},
			"key cut": func() (approval.Approval, error) {
				return e.FindHandle(t.Context(), b.Session, b.UUID, a.Handle()[:len(a.Handle())-1])
			},
			"no key":  func() (approval.Approval, error) { return e.FindHandle(t.Context(), b.Session, b.UUID, a.ID) },
			"nothing": func() (approval.Approval, error) { return e.FindHandle(t.Context(), b.Session, b.UUID, "") },
		} {
			if _, err := find(); !errors.Is(err, approval.ErrNotFound) {
				t.Errorf("%s: %v, want ErrNotFound", name, err)
			}
		}
	})
}

func TestNewEngine_refusesAShortSecret(t *testing.T) {
	if _, err := approval.NewEngine(approval.Config{Secret: []byte("short")}); err == nil {
		t.Error("a secret of 5 bytes was accepted")
	}
}

func TestEngine_waitEndsWithTheCallersContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newWorld(t).engine()
		a := begin(t, e, binding(e))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := e.Wait(ctx, a, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		began := time.Now()
		if got, err := e.Wait(t.Context(), a, 2*time.Second); err != nil || got.State != approval.Pending || time.Since(began) != 2*time.Second {
			t.Errorf("%s, %v after %s", got.State, err, time.Since(began))
		}
	})
}

// A page that was left open goes on with what its request has become.
func TestEngine_followsAHandleToWhatWasStartedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newWorld(t).engine()
		b := binding(e)
		old := begin(t, e, b)
		if _, err := e.Cancel(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		a, err := e.Begin(t.Context(), b, old.ID, ask)
		if err != nil {
			t.Fatal(err)
		}
		found, err := e.FindHandle(t.Context(), b.Session, b.UUID, old.Handle())
		if err != nil || found.ID != a.ID || found.ID == old.ID {
			t.Errorf("found %s, %v; want %s", found.ID, err, a.ID)
		}
	})
}

func TestDismiss_letsGoOfAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e, other := w.engine(), w.engine()
		a := begin(t, e, binding(e))
		began := time.Now()
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if got, err := e.Wait(t.Context(), a, time.Hour); err != nil || got.State != approval.Pending {
					t.Errorf("dismissed with %s, %v; want what it waited for", got.State, err)
				}
			})
		}
		time.Sleep(time.Second)
		e.Dismiss()
		all.Wait()
		if _, err := e.Wait(t.Context(), a, time.Hour); err != nil || time.Since(began) != time.Second {
			t.Errorf("who comes later waits %v, %v", time.Since(began)-time.Second, err)
		}
		w.approve()
		wait(t, other, a, approval.Approved)
	})
}
