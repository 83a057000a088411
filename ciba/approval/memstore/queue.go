package memstore

import (
	"container/heap"
	"context"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// Schedule implements [approval.Store].
func (s *Store) Schedule(ctx context.Context, ref approval.Ref, after time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.queued[ref]
	if !ok {
		p = &poll{ref: ref}
		s.queued[ref] = p
		heap.Push(&s.queue, p)
	}
	s.move(p, s.now().Add(after))
	return nil
}

// Claim implements [approval.Store].
func (s *Store) Claim(ctx context.Context, limit int, lease time.Duration) ([]approval.Lease, time.Duration, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	var leases []approval.Lease
	for len(leases) < limit && len(s.queue) > 0 && !now.Before(s.queue[0].due) {
		p := s.queue[0]
		s.move(p, now.Add(lease))
		leases = append(leases, approval.Lease{Ref: p.ref, Token: p.token})
	}
	if len(s.queue) == 0 {
		return leases, -1, nil
	}
	return leases, max(0, s.queue[0].due.Sub(now)), nil
}

// Extend implements [approval.Store]. The token stays the same, so that a
// repetition is recognised.
func (s *Store) Extend(ctx context.Context, l approval.Lease, after time.Duration) (approval.Lease, error) {
	if err := ctx.Err(); err != nil {
		return approval.Lease{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.queued[l.Ref]
	if !ok || p.token != l.Token {
		return approval.Lease{}, approval.ErrLeaseLost
	}
	p.due = s.now().Add(after)
	heap.Fix(&s.queue, p.index)
	return l, nil
}

// Drop implements [approval.Store].
func (s *Store) Drop(ctx context.Context, l approval.Lease) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.queued[l.Ref]; ok && p.token == l.Token {
		heap.Remove(&s.queue, p.index)
		delete(s.queued, l.Ref)
	}
	return nil
}

// move sets when a poll is due, under a new token. The caller holds the lock.
func (s *Store) move(p *poll, due time.Time) {
	s.lastToken++
	p.due, p.token = due, s.lastToken
	heap.Fix(&s.queue, p.index)
}

// queue is a heap of polls, the one that is due first on top.
type queue []*poll

func (h queue) Len() int           { return len(h) }
func (h queue) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h queue) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *queue) Push(x any) {
	p := x.(*poll)
	p.index = len(*h)
	*h = append(*h, p)
}

func (h *queue) Pop() any {
	last := len(*h) - 1
	p := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return p
}
