package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/approval/memstore"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// patience bounds every wait of these tests.
const patience = 60 * time.Second

// interval is the broker's, unless a site has another one.
const interval = time.Second

// storeKey is the secret that the gateways share.
const storeKey = "a key that all gateways of a site share"

// people is how many users a site has.
const people = 512

func userName(i int) string { return fmt.Sprintf("user-%03d", i) }
func userUUID(i int) string { return fmt.Sprintf("%08x-5afe-4bad-8fad-0123456789ab", 0xc0de0000+i) }

// siteConfig is what sites differ in.
type siteConfig struct {
	// Store is what the gateways' option store says, as in a Caddyfile. The
	// default is a Redis of the site's own.
	Store string
	// Gateways is how many there are at first, 2 by default; negative for none.
	Gateways int
	// Broker is the simulator's configuration; Issuer and Interval are set
	// where they are empty.
	Broker cibatest.Config
}

// site is any number of gateways, in processes of their own, in front of one
// application, with one broker.
type site struct {
	config   siteConfig
	broker   *broker
	upstream *upstream
	stops    *stops
	dir      string
	gateways []*gateway

	mu       sync.Mutex
	persons  int
	acts     []*act
	sessions func() string
}

func newSite(t *testing.T, c siteConfig) *site {
	t.Helper()
	s := &site{config: c, stops: newStops(t), dir: t.TempDir()}
	s.upstream = newUpstream(t, s.stops)
	if s.config.Store == "" {
		s.config.Store = "redis " + redistest.Start(t).URL
	}
	s.broker = newBroker(t, c.Broker, s.stops)
	s.sessions = sessions(t)
	var users strings.Builder
	for i := range people {
		fmt.Fprintf(&users, "%s,%s\n", userName(i), userUUID(i))
	}
	if err := os.WriteFile(filepath.Join(s.dir, "users.csv"), []byte(users.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if c.Gateways == 0 {
		c.Gateways = 2
	}
	for range c.Gateways {
		s.gateway(t, gatewayConfig{})
	}
	for _, g := range s.gateways {
		g.ready(t)
	}
	return s
}

// sessions returns a maker of sessions as the gateways give them out: those of
// clients that have been here before.
func sessions(t *testing.T) func() string {
	t.Helper()
	store := memstore.New(memstore.Config{})
	t.Cleanup(func() { _ = store.Close() })
	e, err := approval.NewEngine(approval.Config{Store: store, Secret: []byte(storeKey)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return func() string { return e.SessionToken(e.NewSession()) }
}

// person is a user of the site whose client has been here before: it has a
// session. Persons are not reused.
func (s *site) person(t testing.TB) *person {
	p := s.newcomer(t)
	p.session = s.sessions()
	return p
}

// newcomer is a user whose client has not been here before.
func (s *site) newcomer(t testing.TB) *person {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.persons == people {
		t.Fatalf("the site has no more than %d people", people)
	}
	s.persons++
	return newPerson(t, s, s.persons-1)
}

// alive are the gateways whose processes have not ended.
func (s *site) alive() []*gateway {
	return slices.DeleteFunc(slices.Clone(s.gateways), (*gateway).hasEnded)
}

// says waits until some gateway's log has a message.
func (s *site) says(t testing.TB, message string) {
	t.Helper()
	eventually(t, fmt.Sprintf("a gateway to say %q", message), func() bool {
		return slices.ContainsFunc(s.gateways, func(g *gateway) bool { return strings.Contains(g.logged(), message) })
	})
}

// together runs subtests at the same time, however many that are: they wait
// more than they work.
func together(t *testing.T, tests map[string]func(*testing.T)) {
	t.Helper()
	var all sync.WaitGroup
	for name, test := range tests {
		all.Go(func() { t.Run(name, test) })
	}
	all.Wait()
}

// await waits until a channel is closed.
func await(t testing.TB, closed <-chan struct{}) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	select {
	case <-closed:
	case <-deadline.C:
		t.Fatalf("waited %v in vain", patience)
	}
}

// eventually waits for a condition that gives no other sign.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !condition() {
		select {
		case <-again.C:
		case <-deadline.C:
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}
