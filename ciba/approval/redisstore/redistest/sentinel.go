package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
)

// MasterName is what the sentinels call the primary.
const MasterName = "approvals"

// quorum is how many sentinels must miss the primary: two of the three.
const quorum = 2

// Sentinel is a primary with replicas, watched by three sentinels that take it
// for dead after half a second of silence.
type Sentinel struct {
	// Servers are the primary and its replicas; the first was the primary at
	// the start.
	Servers []*Server

	// Sentinels are the three.
	Sentinels []*Server
}

// StartSentinel runs a primary, so many replicas, and three sentinels, and
// waits until all know of each other. Arguments are added to the command line
// of the primary and the replicas.
func StartSentinel(t testing.TB, replicas int, args ...string) *Sentinel {
	t.Helper()
	return (*Certificates)(nil).StartSentinel(t, replicas, args...)
}

// StartSentinel is [StartSentinel] with TLS, also from and to the sentinels.
func (c *Certificates) StartSentinel(t testing.TB, replicas int, args ...string) *Sentinel {
	t.Helper()
	s := new(Sentinel)
	for i := range 1 + replicas {
		// Replicas that start at the same time are synchronised in one go.
		server := c.Start(t, append([]string{"--repl-diskless-sync-delay", "0"}, args...)...)
		if i > 0 {
			do(t, server.control, "replicaof", "127.0.0.1", s.Servers[0].port)
		}
		s.Servers = append(s.Servers, server)
	}
	for range 3 {
		sentinel := newServer(t, c)
		file := filepath.Join(sentinel.dir, "sentinel.conf") // which it writes to, too
		text := fmt.Sprintf("sentinel monitor %[1]s 127.0.0.1 %[2]d %[3]d\n"+
			"sentinel down-after-milliseconds %[1]s 500\nsentinel failover-timeout %[1]s 3000\n",
			MasterName, s.Servers[0].port, quorum)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		sentinel.args = append([]string{file, "--sentinel"}, sentinel.args...)
		sentinel.Restart(t)
		// They look around less often otherwise than a test would wait for.
		do(t, sentinel.control, "sentinel", "debug", "info-period", 200, "publish-period", 100, "ask-period", 200)
		s.Sentinels = append(s.Sentinels, sentinel)
	}
	for _, sentinel := range s.Sentinels {
		await(t, "the sentinels", func(ctx context.Context) error {
			state := redis.NewMapStringStringCmd(ctx, "sentinel", "master", MasterName)
			if err := sentinel.control.Process(ctx, state); err != nil {
				return err
			}
			for key, want := range map[string]string{
				"flags": "master", "num-other-sentinels": "2", "num-slaves": strconv.Itoa(replicas),
			} {
				if got := state.Val()[key]; got != want {
					return fmt.Errorf("%s is %s, not %s yet", key, got, want)
				}
			}
			return nil
		})
	}
	for _, replica := range s.Servers[1:] {
		replica.awaitReplication(t)
	}
	return s
}

// URLs are those of the sentinels.
func (s *Sentinel) URLs() []string { return urls(s.Sentinels) }

// Failover waits until a server is not the primary any more, and the sentinels
// that run agree on another one, which it returns. The caller has stopped or
// paused the old one before.
func (s *Sentinel) Failover(t testing.TB, from *Server) *Server {
	t.Helper()
	var to *Server
	await(t, "a failover", func(ctx context.Context) error {
		to = nil
		for _, sentinel := range s.Sentinels {
			if sentinel.ended() || sentinel.paused {
				continue
			}
			addr, err := sentinel.control.Do(ctx, "sentinel", "get-master-addr-by-name", MasterName).StringSlice()
			if err != nil {
				return err
			}
			primary := find(s.Servers, net.JoinHostPort(addr[0], addr[1]))
			if primary == nil || primary == from || to != nil && primary != to {
				return errors.New("the sentinels do not agree on another one")
			}
			to = primary
		}
		role, err := to.control.Do(ctx, "role").Slice()
		if err == nil && role[0] != "master" {
			err = errors.New("the new primary does not know it yet")
		}
		return err
	})
	return to
}

// awaitReplication waits until a replica has what its primary has.
func (s *Server) awaitReplication(t testing.TB) {
	t.Helper()
	await(t, "replication", func(ctx context.Context) error {
		role, err := s.control.Do(ctx, "role").Slice()
		if err == nil && (len(role) < 4 || role[3] != "connected") {
			err = errors.New("the replica is not connected yet")
		}
		return err
	})
}

// find returns the server with an address, or nil.
func find(servers []*Server, addr string) *Server {
	for _, s := range servers {
		if s.Addr == addr {
			return s
		}
	}
	return nil
}

// urls are those of several servers.
func urls(servers []*Server) []string {
	var all []string
	for _, s := range servers {
		all = append(all, s.URL)
	}
	return all
}
