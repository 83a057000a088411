package redisstore

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
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

// place is where an approval stands in the queue: the keys of its shard, and
// what it is called there.
func (s *Store) place(ref approval.Ref) (keys []string, member string) {
	member = string(ref.Owner[:]) + string(ref.Key[:]) + ref.ID
	h := fnv.New32a()
	h.Write([]byte(member)) // never fails
	return s.shard(int(h.Sum32() % shards)), member
}

// Schedule implements [approval.Store].
func (s *Store) Schedule(ctx context.Context, ref approval.Ref, after time.Duration) error {
	keys, member := s.place(ref)
	if _, err := s.run(ctx, scheduleScript, keys, member, micros(after)); err != nil {
		return fmt.Errorf("scheduling a poll in Redis: %w", err)
	}
	return nil
}

// Claim implements [approval.Store]. It first looks at all shards and then
// takes from each what comes first in all of them together; when nothing is
// due, that is one round trip. Where another gateway was quicker in between,
// it returns fewer leases, or later ones, than there were.
//
// In a Cluster the order is as good as the servers' clocks agree. Nothing else
// depends on that.
func (s *Store) Claim(ctx context.Context, limit int, lease time.Duration) ([]approval.Lease, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	leases, next, err := s.claim(ctx, max(0, limit), micros(lease))
	if err != nil {
		return nil, 0, fmt.Errorf("claiming polls in Redis: %w", err)
	}
	return leases, next, nil
}

// claim does the work of Claim.
func (s *Store) claim(ctx context.Context, limit int, lease int64) ([]approval.Lease, time.Duration, error) {
	looks := make([]call, shards)
	for n := range looks {
		looks[n] = call{keys: s.shard(n)[:1], args: []any{limit}}
	}
	looked, err := s.pipeline(ctx, peekScript, looks)
	if err != nil {
		return nil, 0, err
	}
	shares, err := divide(looked, limit)
	if err != nil {
		return nil, 0, err
	}

	var takes []call
	var answers [][]any // the last one of each shard
	for n, share := range shares {
		if share > 0 {
			takes = append(takes, call{keys: s.shard(n), args: []any{share, lease}})
		} else {
			answers = append(answers, looked[n])
		}
	}
	var taken [][]any
	if len(takes) > 0 {
		if taken, err = s.pipeline(ctx, claimScript, takes); err != nil {
			return nil, 0, err
		}
	}
	next, err := soonest(append(answers, taken...))
	if err != nil {
		return nil, 0, err
	}
	leases, err := parseLeases(taken)
	return leases, next, err
}

// divide tells how many approvals to take from each shard, given the answers
// of peek.lua: those that are due first in all shards together, and no more
// than limit.
func divide(answers [][]any, limit int) ([]int, error) {
	type entry struct {
		due   int64
		shard int
	}
	var all []entry
	for n, answer := range answers {
		for _, part := range answer[min(1, len(answer)):] {
			due, ok := part.(int64)
			if !ok {
				return nil, errAnswer
			}
			all = append(all, entry{due, n})
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.due, b.due) })
	shares := make([]int, len(answers))
	for _, e := range all[:min(limit, len(all))] {
		shares[e.shard]++
	}
	return shares, nil
}

// soonest is the shortest of the pauses with which answers begin, of those
// that are not negative, or else -1.
func soonest(answers [][]any) (time.Duration, error) {
	next := time.Duration(-1)
	for _, answer := range answers {
		if len(answer) == 0 {
			return 0, errAnswer
		}
		n, ok := answer[0].(int64)
		if !ok {
			return 0, errAnswer
		}
		if pause := time.Duration(n) * time.Microsecond; n >= 0 && (next < 0 || pause < next) {
			next = pause
		}
	}
	return next, nil
}

// parseLeases reads the answers of claim.lua, and puts the leases in order.
func parseLeases(answers [][]any) ([]approval.Lease, error) {
	type claimed struct {
		approval.Lease
		due int64
	}
	var all []claimed
	for _, answer := range answers {
		if len(answer)%3 != 1 {
			return nil, errAnswer
		}
		for part := range slices.Chunk(answer[1:], 3) {
			var c claimed
			member, isText := part[0].(string)
			token, isToken := part[1].(int64)
			due, isDue := part[2].(int64)
			if !isText || !isToken || !isDue {
				return nil, errAnswer
			}
			if len(member) <= len(c.Owner)+len(c.Key) {
				return nil, errors.New("an entry of the queue is damaged")
			}
			rest := member[copy(c.Owner[:], member):]
			c.ID = rest[copy(c.Key[:], rest):]
			c.Token, c.due = token, due
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b claimed) int { return cmp.Compare(a.due, b.due) })
	var leases []approval.Lease
	for _, c := range all {
		leases = append(leases, c.Lease)
	}
	return leases, nil
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

// call is one run of a script.
type call struct {
	keys []string
	args []any
}

// pipeline runs a script several times, on whatever servers its keys are, in
// one round trip to each.
func (s *Store) pipeline(ctx context.Context, script *redis.Script, calls []call) ([][]any, error) {
	cmds := make([]*redis.Cmd, len(calls))
	// The error of the whole is the first of the commands' errors, and these
	// are looked at one by one.
	_, _ = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, c := range calls {
			cmds[i] = script.EvalSha(ctx, p, c.keys, c.args...)
		}
		return nil
	})
	answers := make([][]any, len(calls))
	for i, cmd := range cmds {
		if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") { // a server that has not seen it yet
			cmd = script.Eval(ctx, s.client, calls[i].keys, calls[i].args...)
		}
		answer, err := cmd.Slice()
		if err != nil {
			return nil, err
		}
		answers[i] = answer
	}
	return answers, nil
}
