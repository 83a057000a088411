package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-stepup/stepup/caddymodule"
	"github.com/caddy-stepup/stepup/ciba/approval"
)

// stops makes gateways stand still at points of an approval's life, so that
// they can be killed there. Points in the store are those of stoppingStore.
// At the broker there are "start arrived", "start answered", "poll arrived",
// "poll answered" and "tokens answered", where an answer is made and not on its
// way yet; at the application there is "forwarded".
type stops struct {
	server *httptest.Server

	mu    sync.Mutex
	armed map[stopAt]*stop
}

type stopAt struct{ gateway, point string }

// stop is one point at which a gateway is to stand still.
type stop struct {
	times   int           // how often the point is passed before
	reached chan struct{} // closed when the gateway stands there
	goOn    chan struct{} // closed when it may go on
}

// release lets the gateway go on.
func (s *stop) release() { close(s.goOn) }

func newStops(t testing.TB) *stops {
	s := &stops{armed: make(map[stopAt]*stop)}
	s.server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s.at(r.Context(), r.URL.Query().Get("gateway"), r.URL.Query().Get("point"))
	}))
	t.Cleanup(s.server.Close)
	return s
}

func (s *stops) url(gateway string) string {
	return s.server.URL + "/?gateway=" + url.QueryEscape(gateway) + "&point="
}

// arm makes a gateway stand still when it comes to a point for the nth time
// from now, until it is released or killed.
func (s *stops) arm(g *gateway, point string, nth int) *stop {
	armed := &stop{nth - 1, make(chan struct{}), make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed[stopAt{g.name, point}] = armed
	return armed
}

// at is called where a gateway comes to a point. It returns whether the gateway
// has gone there.
func (s *stops) at(ctx context.Context, gateway, point string) (gone bool) {
	s.mu.Lock()
	stop := s.armed[stopAt{gateway, point}]
	switch {
	case stop == nil:
	case stop.times > 0:
		stop.times--
		stop = nil
	default:
		delete(s.armed, stopAt{gateway, point})
	}
	s.mu.Unlock()
	if stop == nil {
		return false
	}
	close(stop.reached)
	select {
	case <-stop.goOn:
		return false
	case <-ctx.Done():
		return true
	}
}

// stopsAddress is the environment variable by which a stoppingStore finds stops.
const stopsAddress = "STEPUP_TEST_STOPS"

func init() { caddy.RegisterModule(stoppingStoreModule{}) }

// stoppingStoreModule is the Redis store with stops. It takes the same options.
type stoppingStoreModule struct{ caddymodule.RedisStore }

// CaddyModule returns the Caddy module information.
func (stoppingStoreModule) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "step_up.stores.stopping",
		New: func() caddy.Module { return new(stoppingStoreModule) },
	}
}

// Open implements [caddymodule.StoreModule].
func (m *stoppingStoreModule) Open() (approval.Store, error) {
	s, err := m.RedisStore.Open()
	return &stoppingStore{s, os.Getenv(stopsAddress)}, err
}

// stoppingStore tells the test before and after calls, and waits for its leave.
// It embeds no Store, so that a method which the interface gets is not passed by.
type stoppingStore struct {
	store approval.Store
	stops string
}

func (s *stoppingStore) at(point string) {
	resp, err := http.Get(s.stops + url.QueryEscape(point))
	if err != nil {
		return // the test has ended
	}
	resp.Body.Close()
}

// around makes a call with a stop at both ends.
func (s *stoppingStore) around(call string, do func()) {
	s.at("before " + call)
	do()
	s.at("after " + call)
}

func (s *stoppingStore) Create(ctx context.Context, n approval.New) (rec approval.Record, created bool, err error) {
	s.around("Create", func() { rec, created, err = s.store.Create(ctx, n) })
	return
}

func (s *stoppingStore) Get(ctx context.Context, owner approval.Tag, key approval.Key) (rec approval.Record, err error) {
	s.around("Get", func() { rec, err = s.store.Get(ctx, owner, key) })
	return
}

func (s *stoppingStore) Touch(ctx context.Context, owner approval.Tag, key approval.Key, presence time.Duration) (rec approval.Record, err error) {
	s.around("Touch", func() { rec, err = s.store.Touch(ctx, owner, key, presence) })
	return
}

func (s *stoppingStore) Change(ctx context.Context, c approval.Change) (rec approval.Record, err error) {
	s.around("Change "+string(c.Event), func() { rec, err = s.store.Change(ctx, c) })
	return
}

func (s *stoppingStore) Spend(ctx context.Context, owner approval.Tag, key approval.Key, op string, presence time.Duration) (rec approval.Record, spent bool, err error) {
	// Every request asks; only the one that spends is of interest.
	s.at("before Spend")
	if rec, spent, err = s.store.Spend(ctx, owner, key, op, presence); spent {
		s.at("after Spend")
	}
	return
}

func (s *stoppingStore) Park(ctx context.Context, ref approval.Ref, sealed []byte) (err error) {
	s.around("Park", func() { err = s.store.Park(ctx, ref, sealed) })
	return
}

func (s *stoppingStore) Parked(ctx context.Context, ref approval.Ref) (sealed []byte, err error) {
	s.around("Parked", func() { sealed, err = s.store.Parked(ctx, ref) })
	return
}

func (s *stoppingStore) Unpark(ctx context.Context, ref approval.Ref) (err error) {
	s.around("Unpark", func() { err = s.store.Unpark(ctx, ref) })
	return
}

func (s *stoppingStore) Schedule(ctx context.Context, ref approval.Ref, after time.Duration) (err error) {
	s.around("Schedule", func() { err = s.store.Schedule(ctx, ref, after) })
	return
}

func (s *stoppingStore) Claim(ctx context.Context, limit int, lease time.Duration) (leases []approval.Lease, next time.Duration, err error) {
	if leases, next, err = s.store.Claim(ctx, limit, lease); len(leases) > 0 {
		s.at("after Claim")
	}
	return
}

func (s *stoppingStore) Extend(ctx context.Context, l approval.Lease, after time.Duration) (out approval.Lease, err error) {
	s.around("Extend", func() { out, err = s.store.Extend(ctx, l, after) })
	return
}

func (s *stoppingStore) Drop(ctx context.Context, l approval.Lease) (err error) {
	s.around("Drop", func() { err = s.store.Drop(ctx, l) })
	return
}

func (s *stoppingStore) Take(ctx context.Context, counter approval.Tag, r approval.Rate) (wait time.Duration, err error) {
	s.around("Take", func() { wait, err = s.store.Take(ctx, counter, r) })
	return
}

func (s *stoppingStore) Block(ctx context.Context, counter approval.Tag, p approval.Penalty) (err error) {
	s.around("Block", func() { err = s.store.Block(ctx, counter, p) })
	return
}

func (s *stoppingStore) Listen(ctx context.Context, f func(approval.News)) error {
	return s.store.Listen(ctx, f)
}

func (s *stoppingStore) Close() error { return s.store.Close() }
