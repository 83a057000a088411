package approval_test

import (
	"bytes"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
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

// tester is what a world needs of a *testing.T, and a *rapid.T has it too.
type tester interface {
	Helper()
	Fatal(args ...any)
	Cleanup(f func())
}

// world is a broker, a store, and any number of engines on them.
type world struct {
	t      tester
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

func newWorld(t tester, adjust ...func(*cibatest.Config)) *world {
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

// engine starts a gateway's engine, closed at the end of the test. It has no
// budgets unless adjust sets some.
func (w *world) engine(adjust ...func(*approval.Config)) *approval.Engine {
	w.t.Helper()
	c := approval.Config{
		Provider:    w.client,
		Store:       w.store,
		Secret:      []byte(testSecret),
		Logger:      slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		UserRate:    approval.Rate{Burst: -1},
		AddressRate: approval.Rate{Burst: -1},
	}
	for _, f := range adjust {
		f(&c)
	}
	e, err := approval.NewEngine(c)
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
	return approval.Ask{Text: testText, Code: "K7PX", Action: "APPROVE", IP: netip.MustParseAddr("192.0.2.7")}, nil
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

// polledNotBefore checks that the first poll after a moment did not come too
// early, and that there was one.
func (w *world) polledNotBefore(t *testing.T, earliest, after time.Time) {
	t.Helper()
	for _, c := range w.broker.Log() {
		if c.Endpoint == cibatest.EndpointToken && !c.Started.Before(after) {
			if c.Started.Before(earliest) {
				t.Errorf("polled after %v, want %v at least", c.Started.Sub(after), earliest.Sub(after))
			}
			return
		}
	}
	t.Error("nothing was polled")
}
