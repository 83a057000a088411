package approval_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stepup/stepup/ciba"
	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// Law 7, from the broker's own log.
func TestPoller_keepsTheIntervalAndNeverOverlapsOverTwoGateways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		engines := []*approval.Engine{w.engine(), w.engine()}
		var waiting sync.WaitGroup
		for i := range 50 {
			b := binding(engines[0])
			b.Policy = fmt.Sprint("policy ", i)
			a := begin(t, engines[i%2], b)
			waiting.Go(func() { wait(t, engines[i%2], a, approval.Expired) })
			time.Sleep(137 * time.Millisecond)
		}
		// Slow answers tempt to poll again.
		remove := w.broker.Inject(cibatest.Fault{Endpoint: cibatest.EndpointToken, Latency: 12 * time.Second, Count: 20})
		defer remove()
		waiting.Wait()
		ended := map[string]time.Time{}
		polls := 0
		for _, c := range w.broker.Log() {
			if c.Endpoint != cibatest.EndpointToken {
				continue
			}
			polls++
			if c.Error == "slow_down" || c.Error == "invalid_grant" {
				t.Errorf("the broker answered %s", c.Error)
			}
			if last, ok := ended[c.AuthReqID]; ok && c.Started.Sub(last) < 5*time.Second {
				t.Errorf("poll %s after the last", c.Started.Sub(last))
			}
			ended[c.AuthReqID] = c.Ended
		}
		if len(ended) != 50 || polls < 50*40 {
			t.Errorf("%d polls for %d approvals: some were not polled to their end", polls, len(ended))
		}
		if n := strings.Count(w.log.String(), `"outcome":"expired"`); n != 50 {
			t.Errorf("%d approvals expired, want 50", n)
		}
	})
}

func TestPoller_slowsDownForGoodWhenTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		a := begin(t, e, binding(e))
		id := w.requestID()
		// Somebody else polls with the same client, too early.
		time.Sleep(6 * time.Second)
		if _, err := w.client.Poll(t.Context(), id); !errors.Is(err, ciba.ErrSlowDown) {
			t.Fatalf("polling too early: %v", err)
		}
		time.Sleep(time.Minute)
		found, err := e.FindHandle(t.Context(), approval.Session{}, testUUID, a.Handle())
		if !errors.Is(err, approval.ErrNotFound) {
			t.Fatalf("handle without session: %v, %v", found.State, err)
		}
		w.approve()
		a = wait(t, e, a, approval.Approved)
		if a.Interval != 20*time.Second {
			t.Errorf("interval %s, want 20s", a.Interval)
		}
		slow := 0
		for _, c := range w.broker.Log() {
			if c.Error == "slow_down" {
				slow++
			}
		}
		// The stranger's, the one that told us, and the one that told us that
		// the broker was still ahead.
		if slow != 3 {
			t.Errorf("slow_down %d times, want 3", slow)
		}
	})
}

func TestPoller_outlivesTroubleOnTheWay(t *testing.T) {
	for name, fault := range map[string]cibatest.Fault{
		"500":       {Answer: cibatest.AnswerStatus, Status: 500},
		"dropped":   {Answer: cibatest.AnswerDrop},
		"HTML":      {Answer: cibatest.AnswerHTML},
		"redirect":  {Answer: cibatest.AnswerRedirect},
		"very slow": {Latency: 40 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				fault.Endpoint, fault.Count = cibatest.EndpointToken, 2
				e := w.engine()
				a := begin(t, e, binding(e))
				w.broker.Inject(fault)
				w.approve()
				a, err := e.Wait(t.Context(), a, time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				if a.State != approval.Approved {
					t.Errorf("%s (%s), want approved", a.State, a.Reason)
				}
			})
		})
	}
}

// Law 6: a final answer that is lost on the way is a failure, not a pass.
func TestPoller_failsWhenTheFinalAnswerIsLost(t *testing.T) {
	for name, fault := range map[string]cibatest.Fault{
		"dropped":     {Answer: cibatest.AnswerDrop, After: true},
		"broken JSON": {Answer: cibatest.AnswerBrokenJSON},
		"oversize":    {Answer: cibatest.AnswerOversize},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				fault.Endpoint, fault.Count = cibatest.EndpointToken, 1
				e := w.engine()
				a := begin(t, e, binding(e))
				w.approve()
				w.broker.Inject(fault)
				a = wait(t, e, a, approval.Failed)
				if a.Reason != approval.ReasonAnswerLost {
					t.Errorf("reason %q, want %q", a.Reason, approval.ReasonAnswerLost)
				}
				synctest.Wait() // for the line in the log
				if !strings.Contains(w.log.String(), "its answer is lost") {
					t.Error("the log does not tell that an answer was lost")
				}
			})
		})
	}
}

func TestPoller_waitsForTheKeysOfAnAnswerThatItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		a := begin(t, e, binding(e))
		w.approve()
		remove := w.broker.Inject(cibatest.Fault{Endpoint: cibatest.EndpointJWKS, Answer: cibatest.AnswerStatus, Status: 500})
		time.Sleep(30 * time.Second)
		if a, err := e.Wait(t.Context(), a, 0); err != nil || a.State != approval.Pending {
			t.Fatalf("%s, %v; want pending while the keys are away", a.State, err)
		}
		remove()
		wait(t, e, a, approval.Approved)
	})
}

// Law 6: the store is asked again and again, and the answer is not lost.
func TestPoller_storesTheAnswerWhenTheStoreIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		a := begin(t, e, b)
		w.store.failChange(approval.EventApprove, time.Minute)
		w.approve()
		a = wait(t, e, a, approval.Approved)
		if _, _, err := e.Use(t.Context(), b); err != nil {
			t.Error(err)
		}
	})
}

func TestPoller_failsWhenTheStoreStaysAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		a := begin(t, e, b)
		w.store.failChange(approval.EventApprove, time.Hour)
		w.approve()
		a = wait(t, e, a, approval.Expired)
		if _, _, err := e.Use(t.Context(), b); !errors.Is(err, approval.ErrNotApproved) {
			t.Errorf("using it: %v", err)
		}
		time.Sleep(time.Hour)
		if !strings.Contains(w.log.String(), "it is lost and the person must ask again") {
			t.Error("the log does not tell that an answer was lost")
		}
	})
}

// A question that nobody waits for is taken back from the phone.
func TestPoller_cancelsWhatItsClientHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		begin(t, e, b)
		time.Sleep(90 * time.Second)
		a := begin(t, e, b) // asks again, and so is still there
		time.Sleep(90 * time.Second)
		if rec, err := w.store.Get(t.Context(), a.Owner, a.Key); err != nil || rec.State != approval.Pending {
			t.Fatalf("%s, %v; want pending", rec.State, err)
		}
		time.Sleep(time.Minute)
		a, err := e.Find(t.Context(), b)
		if err != nil || a.State != approval.Cancelled || a.Reason != approval.ReasonAbandoned {
			t.Errorf("%s (%s), %v; want cancelled (abandoned)", a.State, a.Reason, err)
		}
		if got := w.broker.Requests()[0].State; got != cibatest.StateCancelled {
			t.Errorf("at the broker it is %s, want cancelled", got)
		}
	})
}

// An engine that closes brings home the answers that are on their way.
func TestEngine_closeWaitsForAPollUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		a := begin(t, e, b)
		w.approve()
		w.broker.Inject(cibatest.Fault{Endpoint: cibatest.EndpointToken, Latency: 3 * time.Second, Count: 1})
		time.Sleep(6 * time.Second) // the poll is under way
		e.Close()
		other := w.engine()
		found, err := other.Find(t.Context(), b)
		if err != nil || found.ID != a.ID || found.State != approval.Approved {
			t.Errorf("%s, %v; want approved", found.State, err)
		}
	})
}

// A gateway that goes without a word is replaced when its lease has lapsed.
func TestPoller_takesOverFromAGatewayThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		a := begin(t, e, b)
		e.Close()
		// Another claims it and dies.
		time.Sleep(10 * time.Second)
		if l, _, err := w.store.Claim(t.Context(), 10, 15*time.Second); err != nil || len(l) != 1 {
			t.Fatalf("claimed %d, %v", len(l), err)
		}
		w.approve()
		other := w.engine()
		began := time.Now()
		wait(t, other, a, approval.Approved)
		if took := time.Since(began); took > 16*time.Second {
			t.Errorf("took %s, want the lease's 15s and a little", took)
		}
	})
}
