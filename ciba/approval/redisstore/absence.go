package redisstore

import (
	"context"
	"sync"
	"time"
)

// probeTime is how often a shard that is away is tried again.
const probeTime = 500 * time.Millisecond

// absence knows which shards of the queue are away: they have failed, and not
// answered since. A shard that hangs would hold up every claim otherwise.
type absence struct {
	probe func(ctx context.Context, shard int) error
	life  context.Context // ends with the store
	end   context.CancelFunc

	mu     sync.Mutex
	away   [shards]bool
	why    error          // what the last one that failed said
	probes sync.WaitGroup // under mu
}

// others are the shards that are not away, or all, where all are, and why some
// are not among them.
func (a *absence) others() ([]int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var here, all []int
	for n, away := range a.away {
		if !away {
			here = append(here, n)
		}
		all = append(all, n)
	}
	switch len(here) {
	case 0, shards:
		return all, nil
	}
	return here, a.why
}

// note says that shards have failed. They are tried in the background until
// they answer.
func (a *absence) note(failed []int, why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if why != nil {
		a.why = why
	}
	for _, n := range failed {
		if !a.away[n] && a.life.Err() == nil {
			a.away[n] = true
			a.probes.Go(func() { a.await(n) })
		}
	}
}

// await returns when a shard has answered, or the store is closed.
func (a *absence) await(n int) {
	again := time.NewTicker(probeTime)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-a.life.Done():
			return
		}
		if a.probe(a.life, n) == nil {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.away[n] = false
			return
		}
	}
}

// close ends what runs in the background.
func (a *absence) close() {
	a.mu.Lock()
	a.end()
	a.mu.Unlock()
	a.probes.Wait()
}
