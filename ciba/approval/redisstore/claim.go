package redisstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// claimMost bounds what is taken at once: all of it goes through single
// commands, on Lua's stack.
const claimMost = 1000

// Claim implements [approval.Store]. It first looks at all shards and then
// takes from each what comes first in all of them together; when nothing is
// due, that is one round trip. Where another gateway was quicker in between,
// it returns fewer leases, or later ones, than there were.
//
// In a Cluster the order is as good as the servers' clocks agree. Nothing else
// depends on that. A server that is away takes its shards with it and no
// others: Claim goes on with those that answer, says so with an
// [*approval.IncompleteError], and fails only if none does.
func (s *Store) Claim(ctx context.Context, limit int, lease time.Duration) ([]approval.Lease, time.Duration, error) {
	limit = min(max(0, limit), claimMost)
	leases, next, err := s.claim(ctx, limit, micros(lease))
	if err != nil {
		err = fmt.Errorf("claiming polls in Redis: %w", err)
	}
	return leases, next, err
}

// claim does the work of Claim.
func (s *Store) claim(ctx context.Context, limit int, lease int64) ([]approval.Lease, time.Duration, error) {
	here, trouble := s.absent.others()
	var looks []call
	for _, n := range here {
		looks = append(looks, call{n, s.shard(n)[:1], []any{limit}})
	}
	looked, err := s.ask(ctx, peekScript, looks)
	if len(looked) == 0 {
		return nil, 0, err
	}
	trouble = cmp.Or(trouble, err)
	shares, err := divide(looked, limit)
	if err != nil {
		return nil, 0, err
	}

	var takes []call
	var idle []answer
	for _, a := range looked {
		if share := shares[a.shard]; share > 0 {
			takes = append(takes, call{a.shard, s.shard(a.shard), []any{share, lease}})
		} else {
			idle = append(idle, a)
		}
	}
	taken, err := s.ask(ctx, claimScript, takes)
	trouble = cmp.Or(trouble, err)
	answers := append(idle, taken...)
	if len(answers) == 0 {
		return nil, 0, err
	}
	next, err := soonest(answers)
	if err != nil {
		return nil, 0, err
	}
	leases, err := parseLeases(taken)
	if err == nil && trouble != nil {
		err = &approval.IncompleteError{Away: missing(answers), Err: trouble}
	}
	return leases, next, err
}

// missing names the shards that have not answered.
func missing(answers []answer) string {
	var away []string
	for n := range shards {
		if !slices.ContainsFunc(answers, func(a answer) bool { return a.shard == n }) {
			away = append(away, strconv.Itoa(n))
		}
	}
	return "shards " + strings.Join(away, ", ")
}

// call is one run of a script on a shard, answer what it says.
type (
	call struct {
		shard int
		keys  []string
		args  []any
	}
	answer struct {
		shard int
		parts []any
	}
)

// ask runs a script on several shards, and returns the answers of those that
// answer in time. The error is of one that does not, which is left out of
// claims from then on, until it answers.
func (s *Store) ask(ctx context.Context, script *redis.Script, calls []call) ([]answer, error) {
	if len(calls) == 0 {
		return nil, nil
	}
	// Half of the time: Claim asks twice.
	within, cancel := context.WithTimeout(ctx, s.timeout/2)
	defer cancel()
	var answers []answer
	var failed []int
	var trouble error
	for i, cmd := range s.send(within, script, calls) {
		parts, err := cmd.Slice()
		if err != nil {
			failed, trouble = append(failed, calls[i].shard), err
			continue
		}
		answers = append(answers, answer{calls[i].shard, parts})
	}
	// A caller who gives up says nothing about the shards. Nor is there a need
	// to leave out all of them, which go-redis tries to reach by itself.
	if len(failed) < shards && ctx.Err() == nil {
		s.absent.note(failed, trouble)
	}
	return answers, trouble
}

// send runs a script on several shards at once. A single server gets all in one
// round trip. In a Cluster each runs by itself: in a pipeline of go-redis's,
// all commands fail when one server does not answer in time.
func (s *Store) send(ctx context.Context, script *redis.Script, calls []call) []*redis.Cmd {
	cmds := make([]*redis.Cmd, len(calls))
	if _, cluster := s.client.(*redis.ClusterClient); cluster {
		var wg sync.WaitGroup
		for i, c := range calls {
			wg.Go(func() { cmds[i] = s.runWhileMoving(ctx, script, c.keys, c.args...) })
		}
		wg.Wait()
		return cmds
	}
	// The error of the whole is the first of the commands' errors, and these
	// are looked at one by one.
	_, _ = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, c := range calls {
			cmds[i] = script.EvalSha(ctx, p, c.keys, c.args...)
		}
		return nil
	})
	for i, c := range calls {
		if redis.HasErrorPrefix(cmds[i].Err(), "NOSCRIPT") { // a server that has not seen it yet
			cmds[i] = script.Eval(ctx, s.client, c.keys, c.args...)
		}
	}
	return cmds
}

// divide tells how many approvals to take from each shard, given the answers
// of peek.lua: those that are due first in all shards together, and no more
// than limit.
func divide(answers []answer, limit int) (shares [shards]int, err error) {
	type entry struct {
		due   int64
		shard int
	}
	var all []entry
	for _, a := range answers {
		for _, part := range a.parts[min(1, len(a.parts)):] {
			due, ok := part.(int64)
			if !ok {
				return shares, errAnswer
			}
			all = append(all, entry{due, a.shard})
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.due, b.due) })
	for _, e := range all[:min(limit, len(all))] {
		shares[e.shard]++
	}
	return shares, nil
}

// soonest is the shortest of the pauses with which answers begin, of those
// that are not negative, or else -1.
func soonest(answers []answer) (time.Duration, error) {
	next := time.Duration(-1)
	for _, a := range answers {
		if len(a.parts) == 0 {
			return 0, errAnswer
		}
		n, ok := a.parts[0].(int64)
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
func parseLeases(answers []answer) ([]approval.Lease, error) {
	type claimed struct {
		approval.Lease
		due int64
	}
	var all []claimed
	for _, a := range answers {
		if len(a.parts)%3 != 1 {
			return nil, errAnswer
		}
		for part := range slices.Chunk(a.parts[1:], 3) {
			var c claimed
			member, isText := part[0].(string)
			token, isToken := part[1].(int64)
			due, isDue := part[2].(int64)
			if !isText || !isToken || !isDue {
				return nil, errAnswer
			}
			if len(member) <= len(c.Owner)+len(c.Key) {
				// Not this store's. It comes again when its lease has lapsed,
				// and must not take the others with it.
				continue
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
