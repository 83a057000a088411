package redisstore

import (
	"context"
	_ "embed"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// shards is over how many keys the queue is spread. Gateways of different
// versions share a queue: the number must not change.
const shards = 8

var (
	//go:embed schedule.lua
	scheduleLua string
	//go:embed peek.lua
	peekLua string
	//go:embed claim.lua
	claimLua string
	//go:embed extend.lua
	extendLua string
	//go:embed drop.lua
	dropLua string

	scheduleScript = redis.NewScript(clockLua + scheduleLua)
	peekScript     = redis.NewScript(clockLua + peekLua)
	claimScript    = redis.NewScript(clockLua + claimLua)
	extendScript   = redis.NewScript(clockLua + extendLua)
	dropScript     = redis.NewScript(dropLua)
)

// shard names the keys of one part of the queue: the approvals, their leases.
func (s *Store) shard(n int) []string {
	tag := ":{" + strconv.Itoa(n) + "}"
	return []string{s.prefix + "queue" + tag, s.prefix + "leases" + tag}
}

// member is what an approval is called in the queue.
func member(ref approval.Ref) string {
	return string(ref.Owner[:]) + string(ref.Key[:]) + ref.ID
}

// shardOf tells in which part of the queue a member stands.
func shardOf(member string) int {
	h := fnv.New32a()
	h.Write([]byte(member)) // never fails
	return int(h.Sum32() % shards)
}

// place is where an approval stands in the queue: the keys of its shard, and
// what it is called there.
func (s *Store) place(ref approval.Ref) (keys []string, name string) {
	name = member(ref)
	return s.shard(shardOf(name)), name
}

// Schedule implements [approval.Store].
func (s *Store) Schedule(ctx context.Context, ref approval.Ref, after time.Duration) error {
	keys, member := s.place(ref)
	if _, err := s.run(ctx, scheduleScript, keys, member, micros(after)); err != nil {
		return fmt.Errorf("scheduling a poll in Redis: %w", err)
	}
	return nil
}

// Extend implements [approval.Store]. The token remains the same, so that a
// repetition is recognised.
func (s *Store) Extend(ctx context.Context, l approval.Lease, after time.Duration) (approval.Lease, error) {
	keys, member := s.place(l.Ref)
	done, err := s.run(ctx, extendScript, keys, member, l.Token, micros(after))
	if err != nil {
		return approval.Lease{}, fmt.Errorf("extending a lease in Redis: %w", err)
	}
	if done != int64(1) {
		return approval.Lease{}, approval.ErrLeaseLost
	}
	return l, nil
}

// Drop implements [approval.Store].
func (s *Store) Drop(ctx context.Context, l approval.Lease) error {
	keys, member := s.place(l.Ref)
	if _, err := s.run(ctx, dropScript, keys, member, l.Token); err != nil {
		return fmt.Errorf("dropping a poll from the queue in Redis: %w", err)
	}
	return nil
}
