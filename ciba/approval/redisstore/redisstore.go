// Package redisstore keeps approvals in Redis, for any number of gateways: one
// server, Sentinel, or Cluster.
//
// Every decision is a script on the primary and takes its time from there, so
// that gateways whose clocks differ agree. All keys of one person share a hash
// tag, and the queue of polls is spread over a fixed number of keys; no script
// touches more than one hash slot.
//
// Redis must not evict keys (maxmemory-policy noeviction): when it is full, the
// store says so. What Redis loses in a failover is lost: an approval ends as
// unknown, never as granted, since only the engine can make an Outcome. That a
// one-time approval was spent is remembered by the engines as well; appendonly
// with appendfsync always, and min-replicas-to-write, are the ways to make
// Redis remember it also when all of them were restarted.
package redisstore

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// Config configures a Store on a client that the caller has.
type Config struct {
	// Client is the connection to Redis. Its ContextTimeoutEnabled must be
	// set, or Timeout has no effect, and it must not read from replicas. A
	// client of a Cluster needs a short ClusterStateReloadInterval: for so long
	// it may miss that a replica has taken over.
	Client redis.UniversalClient

	// Prefix begins every key and the channel of the news, "stepup:" by
	// default. It must not contain braces, which Redis Cluster would take for
	// a hash tag.
	Prefix string

	// Timeout bounds every call except Listen, 2 s by default.
	Timeout time.Duration
}

// defaultTimeout is that of calls.
const defaultTimeout = 2 * time.Second

// Store is an [approval.Store] in Redis.
type Store struct {
	client  redis.UniversalClient
	owned   bool // Close closes the client
	alone   bool // there is one server, and no other can take its place
	prefix  string
	timeout time.Duration
	health  time.Duration // how often the feed is asked for a sign of life
	absent  absence       // shards of the queue that are away
}

// New returns a store on a client, which remains the caller's to close, after
// the store. It does not connect.
func New(c Config) (*Store, error) {
	if c.Client == nil {
		return nil, errors.New("a Redis client is required")
	}
	if c.Prefix == "" {
		c.Prefix = "stepup:"
	}
	if strings.ContainsAny(c.Prefix, "{}") {
		return nil, errors.New("the prefix of keys in Redis must not contain braces")
	}
	if c.Timeout < 0 {
		return nil, errors.New("the timeout of calls to Redis must not be negative")
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	s := &Store{client: c.Client, prefix: c.Prefix, timeout: c.Timeout, health: 300 * time.Millisecond}
	s.absent.life, s.absent.end = context.WithCancel(context.Background())
	s.absent.probe = func(ctx context.Context, shard int) error {
		_, err := s.run(ctx, peekScript, s.shard(shard)[:1], 0)
		return err
	}
	return s, nil
}

// Close implements [approval.Store]. It ends what runs in the background, and
// closes the client if [Open] made it.
func (s *Store) Close() error {
	s.absent.close()
	if !s.owned {
		return nil
	}
	return s.client.Close()
}

//go:embed clock.lua
var clockLua string

// run runs a script within the timeout. go-redis may run it more than once.
func (s *Store) run(ctx context.Context, script *redis.Script, keys []string, args ...any) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	answer, err := s.runWhileMoving(ctx, script, keys, args...).Result()
	if redis.IsOOMError(err) {
		return nil, fmt.Errorf("%w: %w", approval.ErrFull, err)
	}
	return answer, err
}

// movingTime is the pause between two tries while a slot moves.
const movingTime = 20 * time.Millisecond

// runWhileMoving runs a script. While a slot of a Cluster moves from one server
// to another, no script can run on keys of it of which one is not there; that
// is over in a moment.
func (s *Store) runWhileMoving(ctx context.Context, script *redis.Script, keys []string, args ...any) *redis.Cmd {
	for {
		cmd := script.Run(ctx, s.client, keys, args...)
		if !redis.IsTryAgainError(cmd.Err()) {
			return cmd
		}
		select {
		case <-time.After(movingTime):
		case <-ctx.Done():
			return cmd
		}
	}
}

// micros is a duration in the unit in which the scripts count, rounded up so
// that a short duration does not become none.
func micros(d time.Duration) int64 {
	n := d.Microseconds()
	if d > time.Duration(n)*time.Microsecond {
		n++
	}
	return n
}

// errAnswer says that a script's answer is not what it should be.
var errAnswer = errors.New("the answer of Redis is not understood")

// Interface guard
var _ approval.Store = (*Store)(nil)
