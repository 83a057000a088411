package approval_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stepup/stepup/ciba"
	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/approval/memstore"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

const (
	testUUID   = "8a9856e0-f12d-4217-b320-c8a076be9320"
	otherUUID  = "eee4b272-6a33-40da-ab0b-5ce2abd42e78"
	testText   = "Betal 100 kr. til Bob [K7PX]"
	testSecret = "a secret that all gateways share"
)

// world is a broker, a store, and any number of engines on them.
type world struct {
	t      *testing.T
	broker *cibatest.Server
	store  *brittle
	client *ciba.Client
	log    *lockedBuffer
}

// lockedBuffer collects what several engines log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newWorld(t *testing.T, adjust ...func(*cibatest.Config)) *world {
	t.Helper()
	c := cibatest.Config{Issuer: "http://localhost/op"}
	for _, f := range adjust {
		f(&c)
	}
	broker, err := cibatest.New(c)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, broker: broker, store: &brittle{Store: memstore.New(memstore.Config{})}, log: new(lockedBuffer)}
	w.client, err = ciba.New(ciba.Config{
		Issuer:    c.Issuer,
		ClientID:  cibatest.DemoClientID,
		Auth:      ciba.ClientSecretPost(cibatest.DemoClientSecret),
		Scope:     "openid mitid",
		Transport: broker.Transport(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// engine starts a gateway's engine, closed at the end of the test.
func (w *world) engine() *approval.Engine {
	w.t.Helper()
	e, err := approval.NewEngine(approval.Config{
		Provider: w.client,
		Store:    w.store,
		Secret:   []byte(testSecret),
		Logger:   slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(e.Close)
	return e
}

func binding(e *approval.Engine) approval.Binding {
	return approval.Binding{
		Session: e.NewSession(),
		User:    "alice",
		UUID:    testUUID,
		Policy:  "transfers v1",
		Request: []byte("POST /transfers amount=100&to=Bob"),
	}
}

func ask() (approval.Ask, error) {
	return approval.Ask{Text: testText, Code: "K7PX", Action: "APPROVE", IP: "192.0.2.7"}, nil
}

// begin begins an approval that must be pending then.
func begin(t *testing.T, e *approval.Engine, b approval.Binding) approval.Approval {
	t.Helper()
	a, err := e.Begin(t.Context(), b, "", ask)
	if err != nil {
		t.Fatal(err)
	}
	if a.State != approval.Pending {
		t.Fatalf("state %s (%s), want pending", a.State, a.Reason)
	}
	return a
}

// wait waits to the end, for a state.
func wait(t *testing.T, e *approval.Engine, a approval.Approval, want approval.State) approval.Approval {
	t.Helper()
	a, err := e.Wait(t.Context(), a, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if a.State != want {
		t.Fatalf("state %s (%s), want %s", a.State, a.Reason, want)
	}
	return a
}

// requestID is the broker's id of its newest request.
func (w *world) requestID() string {
	w.t.Helper()
	all := w.broker.Requests()
	if len(all) == 0 {
		w.t.Fatal("the broker has no request")
	}
	return all[len(all)-1].ID
}

func (w *world) approve() {
	w.t.Helper()
	if err := w.broker.Approve(w.requestID()); err != nil {
		w.t.Fatal(err)
	}
}

// pushes is how many times a phone rang.
func (w *world) pushes() int { return len(w.broker.Requests()) }

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
		if _, err := e.Use(t.Context(), b, a); !errors.Is(err, approval.ErrNotApproved) {
			t.Fatalf("using a pending approval: error %v, want ErrNotApproved", err)
		}
		asked := w.broker.Requests()[0]
		if asked.UUID != testUUID || asked.Text != testText || asked.IP != "192.0.2.7" || asked.Action != "APPROVE" || asked.ReferenceID != a.ID {
			t.Errorf("the broker was asked %+v", asked)
		}
		w.approve()
		a = wait(t, e, a, approval.Approved)
		g, err := e.Use(t.Context(), b, a)
		if err != nil {
			t.Fatal(err)
		}
		if g.ApprovalID != a.ID || g.UUID != testUUID || g.TransactionID == "" || time.Since(g.ApprovedAt) > 10*time.Second {
			t.Errorf("grant %+v", g)
		}
		if _, err := e.Use(t.Context(), b, a); !errors.Is(err, approval.ErrNotApproved) {
			t.Errorf("using it again: error %v, want ErrNotApproved", err)
		}
		if again, err := e.Begin(t.Context(), b, "", ask); err != nil || again.State != approval.Spent || w.pushes() != 1 {
			t.Errorf("the same request again: %s, %v, %d pushes; want spent, and one push", again.State, err, w.pushes())
		}
	})
}

// Law 2: whatever differs, nothing is found.
func TestBinding_findsNothingForAnyDifference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		a := begin(t, e, b)
		w.approve()
		a = wait(t, e, a, approval.Approved)
		for name, change := range map[string]func(*approval.Binding){
			"session":       func(b *approval.Binding) { b.Session = e.NewSession() },
			"user":          func(b *approval.Binding) { b.User = "bob" },
			"user's case":   func(b *approval.Binding) { b.User = "Alice" },
			"MitID":         func(b *approval.Binding) { b.UUID = otherUUID },
			"policy":        func(b *approval.Binding) { b.Policy = "transfers v2" },
			"request":       func(b *approval.Binding) { b.Request = []byte("POST /transfers amount=900&to=Bob") },
			"longer":        func(b *approval.Binding) { b.Request = append(bytes.Clone(b.Request), 0) },
			"no request":    func(b *approval.Binding) { b.Request = nil },
			"moved a field": func(b *approval.Binding) { b.User, b.Policy = "alicetransfers", " v1" },
		} {
			other := b
			change(&other)
			if _, err := e.Find(t.Context(), other); !errors.Is(err, approval.ErrNotFound) {
				t.Errorf("other %s: error %v, want ErrNotFound", name, err)
			}
			if _, err := e.Use(t.Context(), other, a); !errors.Is(err, approval.ErrNotApproved) {
				t.Errorf("other %s: using gives %v, want ErrNotApproved", name, err)
			}
		}
		upper := b
		upper.UUID = strings.ToUpper(b.UUID)
		if _, err := e.Find(t.Context(), upper); err != nil {
			t.Errorf("the same UUID in capitals: %v", err)
		}
	})
}

func TestBinding_refusesEmptyParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newWorld(t).engine()
		for name, change := range map[string]func(*approval.Binding){
			"session": func(b *approval.Binding) { b.Session = approval.Session{} },
			"user":    func(b *approval.Binding) { b.User = "" },
			"UUID":    func(b *approval.Binding) { b.UUID = "" },
			"policy":  func(b *approval.Binding) { b.Policy = "" },
			"request": func(b *approval.Binding) { b.Request = []byte{} },
		} {
			b := binding(e)
			change(&b)
			if _, err := e.Begin(t.Context(), b, "", ask); err == nil {
				t.Errorf("a binding without %s was accepted", name)
			}
			if _, err := e.Use(t.Context(), b, approval.Approval{State: approval.Approved}); err == nil {
				t.Errorf("a binding without %s was used", name)
			}
		}
	})
}

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
				if _, err := engines[i%2].Use(t.Context(), b, a); err == nil {
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
				if _, err := e.Use(t.Context(), b, a); !errors.Is(err, approval.ErrNotApproved) {
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
				if _, err := e.Use(t.Context(), b, a); !errors.Is(err, approval.ErrNotApproved) {
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

// Law 7, from the broker's own log.
func TestPoller_keepsTheIntervalAndNeverOverlapsOverTwoGateways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		engines := []*approval.Engine{w.engine(), w.engine()}
		for i := range 50 {
			b := binding(engines[0])
			begin(t, engines[i%2], b)
			time.Sleep(137 * time.Millisecond)
		}
		// Slow answers tempt to poll again.
		remove := w.broker.Inject(cibatest.Fault{Endpoint: cibatest.EndpointToken, Latency: 12 * time.Second, Count: 20})
		defer remove()
		time.Sleep(6 * time.Minute)
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
		if _, err := e.Use(t.Context(), b, a); err != nil {
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
		if _, err := e.Use(t.Context(), b, a); !errors.Is(err, approval.ErrNotApproved) {
			t.Errorf("using it: %v", err)
		}
		time.Sleep(time.Hour)
		if !strings.Contains(w.log.String(), "it is lost and the person must ask again") {
			t.Error("the log does not tell that an answer was lost")
		}
	})
}

// A gateway that dies between the start and its record leaves a failure
// behind, and no approval that nobody looks after.
func TestEngine_leavesNoStartBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.store.failChange(approval.EventStarted, time.Hour)
		e := w.engine()
		b := binding(e)
		_, err := e.Begin(t.Context(), b, "", ask)
		if !errors.Is(err, approval.ErrStore) {
			t.Fatalf("error %v, want ErrStore", err)
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
			if _, err := e.Use(t.Context(), b, a); err != nil {
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
		if _, err := e.Use(t.Context(), b, a); !errors.Is(err, approval.ErrNotApproved) {
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
		if _, err := e.Use(t.Context(), b, a); !errors.Is(err, approval.ErrNotApproved) {
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
			"other id": func() (approval.Approval, error) {
				return e.FindHandle(t.Context(), b.Session, b.UUID, "X"+a.Handle())
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

// Whoever writes into the store can take approvals away, but not make one.
func TestEngine_refusesWhatAWriterOfTheStoreForges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		good := begin(t, e, b)
		w.approve()
		good = wait(t, e, good, approval.Approved)
		stolen, err := w.store.Get(t.Context(), good.Owner, good.Key)
		if err != nil {
			t.Fatal(err)
		}

		for name, proof := range map[string][]byte{
			"no proof":                     nil,
			"made-up proof":                []byte("approved"),
			"the proof of another request": stolen.Outcome,
			"a plan for a proof":           stolen.Plan,
		} {
			other := b
			other.Request = []byte("POST /transfers amount=1000000&to=Mallory " + name)
			victim := begin(t, e, other)
			_, err := w.store.Store.Change(t.Context(), approval.Change{
				Ref: victim.Ref, Event: approval.EventApprove, Outcome: proof, Lasts: time.Minute, Keep: time.Minute,
			})
			if err != nil {
				t.Fatal(err)
			}
			a, err := e.Find(t.Context(), other)
			if err != nil || a.State != approval.Approved {
				t.Fatalf("the store says %s, %v", a.State, err)
			}
			if _, err := e.Use(t.Context(), other, a); !errors.Is(err, approval.ErrNotApproved) {
				t.Errorf("%s: %v, want ErrNotApproved", name, err)
			}
		}
	})
}

// Law 3: what lies in the store tells nothing.
func TestEngine_storesNothingThatAReaderCouldUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		a := begin(t, e, b)
		body := []byte("amount=100&to=Bob")
		if err := e.Park(t.Context(), b.Session, a, approval.Parked{Body: body}); err != nil {
			t.Fatal(err)
		}
		w.approve()
		a = wait(t, e, a, approval.Approved)
		rec, err := w.store.Get(t.Context(), a.Owner, a.Key)
		if err != nil {
			t.Fatal(err)
		}
		parked, err := w.store.Parked(t.Context(), a.Ref)
		if err != nil {
			t.Fatal(err)
		}
		dump := fmt.Sprintf("%q %q %q %s %s %s", rec.Plan, rec.Outcome, parked, rec.Owner, rec.Key, rec.Session)
		for _, secret := range []string{b.User, testUUID, "Betal", "K7PX", string(body), w.requestID(), e.SessionToken(b.Session), "transfers"} {
			if strings.Contains(dump, secret) {
				t.Errorf("the store holds %q", secret)
			}
		}
		got, err := e.Unpark(t.Context(), b.Session, a)
		if err != nil || !bytes.Equal(got.Body, body) {
			t.Errorf("unparking: %q, %v", got.Body, err)
		}
		if _, err := e.Unpark(t.Context(), e.NewSession(), a); err == nil {
			t.Error("another session read what was parked")
		}
		if _, err := e.Use(t.Context(), b, a); err != nil {
			t.Fatal(err)
		}
		if _, err := w.store.Parked(t.Context(), a.Ref); !errors.Is(err, approval.ErrNotFound) {
			t.Errorf("after its use, the parked body is still there: %v", err)
		}
	})
}

func TestEngine_logsNoPersonalData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		a := begin(t, e, b)
		w.broker.Inject(cibatest.Fault{Endpoint: cibatest.EndpointToken, Token: cibatest.TokenWrongUUID})
		w.approve()
		wait(t, e, a, approval.Failed)
		if a, err := e.Begin(t.Context(), b, a.ID, ask); err != nil {
			t.Fatal(err)
		} else if _, err := e.Cancel(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		logged := w.log.String()
		if !strings.Contains(logged, a.ID) || !strings.Contains(logged, "mitid.uuid") {
			t.Errorf("the log does not help: %s", logged)
		}
		for _, secret := range []string{b.User, testUUID, "Betal", "K7PX", w.requestID(), e.SessionToken(b.Session), "192.0.2.7", "Jensen"} {
			if strings.Contains(logged, secret) {
				t.Errorf("the log holds %q", secret)
			}
		}
	})
}

func TestSession_isOnlyTakenBackFromAnEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		s := e.NewSession()
		token := e.SessionToken(s)
		if got, ok := e.ParseSession(token); !ok || got != s {
			t.Error("a session did not come back")
		}
		if got, ok := w.engine().ParseSession(token); !ok || got != s {
			t.Error("another gateway does not know the session")
		}
		stranger, err := approval.NewEngine(approval.Config{Provider: w.client, Store: w.store, Secret: []byte("another secret, of others")})
		if err != nil {
			t.Fatal(err)
		}
		defer stranger.Close()
		if _, ok := stranger.ParseSession(token); ok {
			t.Error("an engine with another secret took the session")
		}
		for name, forged := range map[string]string{
			"empty":     "",
			"cut":       token[:len(token)-1],
			"longer":    token + "A",
			"all As":    strings.Repeat("A", len(token)),
			"not b64":   strings.Repeat("!", len(token)),
			"new line":  token[:10] + "\n" + token[11:],
			"bit apart": flip(token),
		} {
			if _, ok := e.ParseSession(forged); ok {
				t.Errorf("%s: taken", name)
			}
		}
		if shown := fmt.Sprintf("%v %+v %#v", s, s, s); strings.Count(shown, "approval.Session{…}") != 3 {
			t.Errorf("a session shows itself: %s", shown)
		}
	})
}

// flip changes the token's first character.
func flip(token string) string {
	if token[0] == 'A' {
		return "B" + token[1:]
	}
	return "A" + token[1:]
}

func TestNewEngine_refusesAShortSecret(t *testing.T) {
	if _, err := approval.NewEngine(approval.Config{Secret: []byte("short")}); err == nil {
		t.Error("a secret of 5 bytes was accepted")
	}
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

// brittle is a store that fails when it is told to.
type brittle struct {
	approval.Store

	mu    sync.Mutex
	event approval.Event
	until time.Time
}

var errBrittle = errors.New("store away")

// failChange makes changes by an event fail for so long.
func (s *brittle) failChange(e approval.Event, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.event, s.until = e, time.Now().Add(d)
}

func (s *brittle) Change(ctx context.Context, c approval.Change) (approval.Record, error) {
	s.mu.Lock()
	fail := c.Event == s.event && time.Now().Before(s.until)
	s.mu.Unlock()
	if fail {
		return approval.Record{}, errBrittle
	}
	return s.Store.Change(ctx, c)
}
