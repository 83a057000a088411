// Package redistest runs real Redis servers for tests, like net/http/httptest
// does for HTTP: one server, Sentinel or Cluster, with or without TLS, and the
// faults that they have. They listen on loopback addresses and end with the
// test.
//
// It needs redis-server, version 7 or later, in PATH. Without it a test is
// skipped, unless the environment says CI=true or REQUIRE_REDIS=1: then it
// fails.
package redistest

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-stepup/stepup/internal/freeport"
)

// patience bounds the wait for servers to be ready.
const patience = 20 * time.Second

// Server is a running Redis.
type Server struct {
	// Addr is its host:port, URL the same as redis://host:port, or rediss://
	// where it speaks TLS.
	Addr, URL string

	port    int
	certs   *Certificates // nil without TLS
	binary  string
	args    []string
	dir     string
	control *redis.Client // of the server's own
	*process
}

// Start runs a single server. Arguments are added to its command line. All data
// lives through [Server.Stop] and [Server.Restart] with "--appendonly", "yes",
// "--appendfsync", "always"; without them, the server goes back to what it was
// at the last [Server.Save], or is empty.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return (*Certificates)(nil).Start(t, args...)
}

// newServer is a server that does not run yet.
func newServer(t testing.TB, certs *Certificates, args ...string) *Server {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" || os.Getenv("REQUIRE_REDIS") == "1" {
			t.Fatal("redis-server is not in PATH, and REQUIRE_REDIS or CI demands it")
		}
		t.Skip("redis-server is not in PATH")
	}
	s := &Server{port: freePort(t), certs: certs, binary: binary, dir: t.TempDir()}
	s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
	s.URL = certs.scheme() + "://" + s.Addr
	s.args = slices.Concat(certs.args(s.port), []string{
		"--bind", "127.0.0.1", "--dir", s.dir, "--daemonize", "no", "--loglevel", "warning",
	}, args)
	s.control = s.Client(t)
	return s
}

// Restart starts a server again that was stopped, where it was and with what
// it has on disk.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	await(t, "redis-server", func(ctx context.Context) error {
		if s.process == nil || s.ended() {
			// Again and again: after a stop, somebody may have the port for a
			// moment.
			p, err := run(t, s.binary, s.args)
			if err != nil {
				return err
			}
			s.process = p
		}
		err := s.control.Ping(ctx).Err()
		if redis.IsAuthError(err) {
			err = nil // it is there
		}
		if err != nil && s.ended() {
			err = errors.New(s.output.String())
		}
		return err
	})
}

// Save writes what the server has to its disk.
func (s *Server) Save(t testing.TB) {
	t.Helper()
	do(t, s.control, "save")
}

// Client returns a client of this server alone; the test's end closes it.
func (s *Server) Client(t testing.TB) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{
		Addr: s.Addr, TLSConfig: s.certs.config(t), ContextTimeoutEnabled: true, MaxRetries: -1,
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func freePort(t testing.TB) int {
	t.Helper()
	port, err := freeport.Port(freeport.Redis)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// await tries again until ready returns nil.
func await(t testing.TB, what string, ready func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// A process of its own gives no other sign than an answer.
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waiting for %s: %v", what, err)
		case <-again.C:
		}
	}
}

// do sends a command that must succeed.
func do(t testing.TB, c *redis.Client, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Do(ctx, args...).Err(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}
