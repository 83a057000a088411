package memstore

import (
	"container/heap"
	"context"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// counter is a budget and its penalties.
type counter struct {
	removal
	// used is the time up to which the budget is used: each Take adds Per (the
	// generic cell rate algorithm).
	used time.Time

	strikes   int
	blocked   time.Time // until then, Take refuses
	forgiving time.Time // from then on, the strikes do not count
}

// Take implements [approval.Store].
func (s *Store) Take(ctx context.Context, name approval.Tag, r approval.Rate) (time.Duration, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.sweep()
	c := s.counter(name)
	used := c.used
	if used.Before(now) {
		used = now
	}
	wait := max(used.Sub(now)-time.Duration(r.Burst-1)*r.Per, c.blocked.Sub(now))
	if wait > 0 {
		return wait, nil
	}
	c.used = used.Add(r.Per)
	s.keep(name, c)
	return 0, nil
}

// Block implements [approval.Store].
func (s *Store) Block(ctx context.Context, name approval.Tag, p approval.Penalty) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.sweep()
	c := s.counter(name)
	if !now.Before(c.forgiving) {
		c.strikes = 0
	}
	c.strikes++
	blocked := now
	if c.strikes > p.Free {
		pause := p.First
		for range c.strikes - p.Free - 1 {
			pause = min(2*pause, p.Longest)
		}
		blocked = now.Add(min(pause, p.Longest))
	}
	if blocked.After(c.blocked) {
		c.blocked = blocked
	}
	c.forgiving = c.blocked.Add(p.Memory)
	s.keep(name, c)
	return nil
}

// counter returns the counter of a name, perhaps a new one that is not kept
// yet. The caller holds the lock.
func (s *Store) counter(name approval.Tag) *counter {
	c, ok := s.counters[name]
	if !ok {
		c = new(counter)
		c.index = -1
		c.forget = func() {
			heap.Remove(&s.removals, c.index)
			delete(s.counters, name)
		}
	}
	return c
}

// keep keeps a counter for as long as it means something. The caller holds the
// lock.
func (s *Store) keep(name approval.Tag, c *counter) {
	c.gone = c.used
	if c.forgiving.After(c.gone) {
		c.gone = c.forgiving
	}
	if c.index >= 0 {
		heap.Fix(&s.removals, c.index)
		return
	}
	s.counters[name] = c
	heap.Push(&s.removals, &c.removal)
}
