package main

import (
	"context"
	"fmt"
	"time"
)

// The targets for approvals that wait.
const (
	heapTarget     = 2 << 10 // bytes of Go heap for each
	redisTarget    = 2 << 10 // bytes of Redis for each
	latenessTarget = 250 * time.Millisecond
	coresTarget    = 1.0 // of all gateways together
)

// pollInterval is the broker's for the part polling.
const pollInterval = 5 * time.Second

// measurePending has very many approvals wait, in one gateway's memory and in a
// Redis that two gateways share.
func measurePending(ctx context.Context, b *bench) error {
	var columns []crowdFigures
	for _, x := range []struct {
		name     string
		gateways int
		redis    bool
	}{{"pending-memory", 1, false}, {"pending-redis", 2, true}} {
		f, err := b.crowd(ctx, x.name, b.pending, x.gateways, b.interval, x.redis, b.interval)
		if err != nil {
			return err
		}
		columns = append(columns, f)
	}
	m, r := columns[0], columns[1]
	b.print(fmt.Sprintf("Pending: %d approvals at once", b.pending), table{
		{"", "memory, one gateway", "Redis, two gateways", "target", ""},
		{"Go heap per approval", inBytes(m.heapEach()), inBytes(r.heapEach()), "≤ 2048 B",
			verdict(m.heapEach() <= heapTarget && r.heapEach() <= heapTarget)},
		{"Redis memory per approval", "–", inBytes(r.redisEach()), "≤ 2048 B", verdict(r.redisEach() <= redisTarget)},
		{"all have asked after", inSeconds(m.starting), inSeconds(r.starting), "", ""},
		{"polls per second", number(m.pollsPerSecond()), number(r.pollsPerSecond()), "", ""},
		{"lateness p50 / p99 / max", inCases(m.punctual.lateness), inCases(r.punctual.lateness), "", ""},
		{"polls early, overlapping, slow_down", m.punctual.disorder(), r.punctual.disorder(), "none",
			verdict(m.punctual.inOrder() && r.punctual.inOrder())},
		{"CPU of the gateways", inCores(m.gatewayCores()), inCores(r.gatewayCores()), "", ""},
		{"CPU of Redis", "–", inCores(r.redisCores()), "", ""},
		{"heard of each person at least every", inSeconds(m.unheard), inSeconds(r.unheard), "< " + inSeconds(absenceTarget), verdict(max(m.unheard, r.unheard) < absenceTarget)},
		{"answers collected", m.collection(), r.collection(), "all", verdict(m.allCollected() && r.allCollected())},
		{"last answer collected after", inSeconds(m.ending), inSeconds(r.ending), "", ""},
		{"approved, and passed once", m.passages(), r.passages(), "all", verdict(m.passedOnce() && r.passedOnce())},
		{"refused, and turned off", m.refusals(), r.refusals(), "all", verdict(m.allTurnedOff() && r.allTurnedOff())},
		{"anything else", m.rest(), r.rest(), "0", verdict(m.noneOtherwise() && r.noneOtherwise())},
	}, fmt.Sprintf("Interval %v, no bodies parked. Each person is to be heard of every %v, as a waiting page does it, "+
		"because the gate takes a question back when nobody waits for the answer; when that falls behind, nobody new asks. "+
		"Polls and CPU: over %v, in which everything is polled once. "+
		"Then one in %d says yes, the others no.", b.interval, presence, b.interval, approvedOf))
	return nil
}

// measurePolling looks at how well polls keep to a short interval.
func measurePolling(ctx context.Context, b *bench) error {
	f, err := b.crowd(ctx, "polling", b.polling, 2, pollInterval, true, b.window)
	if err != nil {
		return err
	}
	b.print(fmt.Sprintf("Polling: %d approvals every %v, two gateways on one Redis", b.polling, pollInterval), table{
		{"", "", "target", ""},
		{"polls per second", number(f.pollsPerSecond()), "", ""},
		{"lateness p50 / p99 / max", inCases(f.punctual.lateness), "p99 < 250 ms",
			verdict(quantile(f.punctual.lateness, 0.99) < latenessTarget)},
		{"polls early, overlapping, slow_down", f.punctual.disorder(), "none", verdict(f.punctual.inOrder())},
		{"CPU of both gateways", inCores(f.gatewayCores()), "< 1 core", verdict(f.gatewayCores() < coresTarget)},
		{"CPU of Redis", inCores(f.redisCores()), "", ""},
		{"heard of each person at least every", inSeconds(f.unheard), "< " + inSeconds(absenceTarget), verdict(f.unheard < absenceTarget)},
		{"answers collected", f.collection(), "all", verdict(f.allCollected())},
		{"last answer collected after", inSeconds(f.ending), "", ""},
		{"approved, and passed once", f.passages(), "all", verdict(f.passedOnce())},
		{"refused, and turned off", f.refusals(), "all", verdict(f.allTurnedOff())},
		{"anything else", f.rest(), "0", verdict(f.noneOtherwise())},
	}, fmt.Sprintf("Polls and CPU over %v.", b.window))
	return nil
}

// crowd starts and measures a crowd.
func (b *bench) crowd(ctx context.Context, name string, n, gateways int, interval time.Duration, withRedis bool, window time.Duration) (crowdFigures, error) {
	c, err := b.newCrowd(ctx, n, gateways, interval, withRedis)
	defer c.stop()
	if err != nil {
		return crowdFigures{}, err
	}
	f, err := b.measure(ctx, name, c, window)
	if err != nil {
		return f, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}
