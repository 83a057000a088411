// Package redistest runs real Redis servers for tests, like net/http/httptest
// does for HTTP. They listen on loopback addresses, persist nothing, and end
// with the test.
//
// It needs redis-server, version 7 or later, in PATH. Without it a test is
// skipped, unless the environment says CI=true or REQUIRE_REDIS=1: then it
// fails.
package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience bounds the wait for a server or a cluster to be ready.
const patience = 20 * time.Second

// Server is a running Redis.
type Server struct {
	// Addr is its host:port, URL the same as redis://host:port.
	Addr, URL string

	bus  int // port of the cluster bus, 0 if it is not in a cluster
	stop func()
}

// Stop ends the server at once, as a crash would. It may be called twice; the
// end of the test calls it in any case.
func (s *Server) Stop() { s.stop() }

// Client returns a client of this server alone; the test's end closes it.
func (s *Server) Client(t testing.TB) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.Addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Start runs a single server. Arguments are added to its command line.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, 0, args)
}

// StartCluster runs a Redis Cluster of three primaries without replicas.
func StartCluster(t testing.TB) []*Server {
	t.Helper()
	nodes := make([]*Server, 3)
	for i := range nodes {
		bus := freePort(t)
		nodes[i] = start(t, bus, []string{
			"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus), "--cluster-node-timeout", "5000",
		})
	}
	const slots = 16384
	for i, node := range nodes {
		c := node.Client(t)
		do(t, c, "cluster", "set-config-epoch", i+1)
		do(t, c, "cluster", "addslotsrange", slots*i/len(nodes), slots*(i+1)/len(nodes)-1)
		host, port, _ := net.SplitHostPort(nodes[0].Addr)
		do(t, c, "cluster", "meet", host, port, nodes[0].bus)
	}
	for _, node := range nodes {
		c := node.Client(t)
		await(t, "the cluster", func(ctx context.Context) error {
			info, err := c.ClusterInfo(ctx).Result()
			if err != nil {
				return err
			}
			for _, want := range []string{"cluster_state:ok", "cluster_slots_ok:16384", "cluster_size:3"} {
				if !strings.Contains(info, want) {
					return fmt.Errorf("%s is not there yet", want)
				}
			}
			return nil
		})
	}
	return nodes
}

// start runs a server, in a cluster if bus is not 0.
func start(t testing.TB, bus int, args []string) *Server {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" || os.Getenv("REQUIRE_REDIS") == "1" {
			t.Fatal("redis-server is not in PATH, and REQUIRE_REDIS or CI demands it")
		}
		t.Skip("redis-server is not in PATH")
	}
	port := freePort(t)
	s := &Server{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), bus: bus}
	s.URL = "redis://" + s.Addr

	cmd := exec.Command(binary, append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", t.TempDir(),
		"--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning",
	}, args...)...)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting redis-server: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	s.stop = func() {
		_ = cmd.Process.Kill()
		<-ended
	}
	t.Cleanup(s.stop)

	c := s.Client(t)
	await(t, "redis-server", func(ctx context.Context) error {
		select {
		case <-ended:
			t.Fatalf("redis-server ended early: %s", output.String())
		default:
		}
		return c.Ping(ctx).Err()
	})
	return s
}

// freePort finds a port that nobody listens on.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("looking for a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
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
