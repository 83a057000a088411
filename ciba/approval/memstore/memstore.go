// Package memstore keeps approvals in the memory of one process. It serves one
// gateway, tests and the demo; what it holds ends with the process.
package memstore

import (
	"container/heap"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// Config configures a Store. Its zero value is ready for use.
type Config struct {
	// Now is the store's clock, [time.Now] by default.
	Now func() time.Time

	// MaxRecords and MaxParked bound what is held: the number of records,
	// 500 000 by default, and the bytes of parked bodies, 256 MiB by default.
	// Beyond them the store answers [approval.ErrFull].
	MaxRecords int
	MaxParked  int64
}

// Store is an [approval.Store] in memory.
type Store struct {
	now        func() time.Time
	maxRecords int
	maxParked  int64

	mu        sync.Mutex
	records   map[place]*record
	slots     map[slot]*record // the records that hold them, or held them
	counters  map[approval.Tag]*counter
	removals  removals // what goes, by the time at which it does
	queue     queue    // polls by the time at which they are due
	queued    map[approval.Ref]*poll
	parked    int64
	listeners map[*listener]struct{}
	lastToken int64
}

type place struct {
	owner approval.Tag
	key   approval.Key
}

type slot struct{ owner, name approval.Tag }

type record struct {
	removal
	approval.Record // without Left and Present, for which there are times
	ends, present   time.Time
	op              string
	parked          []byte
}

type poll struct {
	ref   approval.Ref
	due   time.Time
	token int64
	index int // in queue
}

// listener is told one thing at a time, and nothing after it is closed.
type listener struct {
	mu     sync.Mutex
	f      func(approval.News)
	closed bool
}

func (l *listener) tell(n approval.News) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.f(n)
	}
}

// New returns an empty store.
func New(c Config) *Store {
	s := &Store{
		now:        c.Now,
		maxRecords: c.MaxRecords,
		maxParked:  c.MaxParked,
		records:    make(map[place]*record),
		slots:      make(map[slot]*record),
		counters:   make(map[approval.Tag]*counter),
		queued:     make(map[approval.Ref]*poll),
		listeners:  make(map[*listener]struct{}),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.maxRecords == 0 {
		s.maxRecords = 500_000
	}
	if s.maxParked == 0 {
		s.maxParked = 256 << 20
	}
	return s
}

// Create implements [approval.Store].
func (s *Store) Create(ctx context.Context, n approval.New) (approval.Record, bool, error) {
	if err := ctx.Err(); err != nil {
		return approval.Record{}, false, err
	}
	s.mu.Lock()
	now := s.sweep()
	at := place{n.Owner, n.Key}
	if r, ok := s.records[at]; ok {
		seen := r.view(now)
		if seen.ID == n.ID || seen.State.Live() || seen.ID != n.Replace {
			s.mu.Unlock()
			return seen, seen.ID == n.ID, nil
		}
	}
	if holder, ok := s.slots[slot{n.Owner, n.Slot}]; ok {
		if seen := holder.view(now); seen.State.Waiting() {
			s.mu.Unlock()
			return seen, false, approval.ErrBusy
		}
	}
	if old, ok := s.records[at]; ok {
		s.remove(old)
	}
	if len(s.records) >= s.maxRecords {
		s.mu.Unlock()
		return approval.Record{}, false, approval.ErrFull
	}
	r := &record{
		Record: approval.Record{
			Ref:     n.Ref,
			State:   approval.Starting,
			Session: n.Session,
			Slot:    n.Slot,
			Plan:    slices.Clone(n.Plan),
		},
		ends:    now.Add(n.Lasts),
		present: now.Add(n.Presence),
	}
	r.gone, r.forget = now.Add(n.Lasts+n.Keep), func() { s.remove(r) }
	s.records[at] = r
	s.slots[slot{n.Owner, n.Slot}] = r
	heap.Push(&s.removals, &r.removal)
	seen := r.view(now)
	s.mu.Unlock()
	return seen, true, nil
}

// Get implements [approval.Store].
func (s *Store) Get(ctx context.Context, owner approval.Tag, key approval.Key) (approval.Record, error) {
	if err := ctx.Err(); err != nil {
		return approval.Record{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.sweep()
	r, ok := s.records[place{owner, key}]
	if !ok {
		return approval.Record{}, approval.ErrNotFound
	}
	return r.view(now), nil
}

// Touch implements [approval.Store].
func (s *Store) Touch(ctx context.Context, owner approval.Tag, key approval.Key, presence time.Duration) (approval.Record, error) {
	if err := ctx.Err(); err != nil {
		return approval.Record{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.sweep()
	r, ok := s.records[place{owner, key}]
	if !ok {
		return approval.Record{}, approval.ErrNotFound
	}
	s.touch(r, now, presence)
	return r.view(now), nil
}

// touch notes that somebody waits. The caller holds the lock.
func (s *Store) touch(r *record, now time.Time, presence time.Duration) {
	if until := now.Add(presence); until.After(r.present) {
		r.present = until
	}
}

// Spend implements [approval.Store].
func (s *Store) Spend(ctx context.Context, owner approval.Tag, key approval.Key, op string, presence time.Duration) (approval.Record, bool, error) {
	if err := ctx.Err(); err != nil {
		return approval.Record{}, false, err
	}
	seen, told, spent, err := s.spend(owner, key, op, presence)
	for _, l := range told {
		l.tell(approval.News{ID: seen.ID, End: op})
	}
	return seen, spent, err
}

// spend does the work of Spend and returns whom to tell of it, outside the
// lock.
func (s *Store) spend(owner approval.Tag, key approval.Key, op string, presence time.Duration) (approval.Record, []*listener, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.sweep()
	r, ok := s.records[place{owner, key}]
	switch {
	case !ok:
		return approval.Record{}, nil, false, approval.ErrNotFound
	case op != "" && r.op == op:
		return r.spent(), nil, true, nil
	case r.view(now).State == approval.Approved:
		r.State, r.op, r.ends = approval.EventSpend.To(), op, now
		s.unpark(r)
		return r.spent(), s.listening(), true, nil
	}
	s.touch(r, now, presence)
	return r.view(now), nil, false, nil
}

// listening lists the listeners. The caller holds the lock.
func (s *Store) listening() []*listener {
	all := make([]*listener, 0, len(s.listeners))
	for l := range s.listeners {
		all = append(all, l)
	}
	return all
}

// Change implements [approval.Store].
func (s *Store) Change(ctx context.Context, c approval.Change) (approval.Record, error) {
	if err := ctx.Err(); err != nil {
		return approval.Record{}, err
	}
	seen, n, told, err := s.change(c)
	for _, l := range told {
		l.tell(n)
	}
	return seen, err
}

// change applies c and returns what to tell of it and whom, outside the lock.
func (s *Store) change(c approval.Change) (approval.Record, approval.News, []*listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.sweep()
	r, err := s.find(c.Ref)
	if err != nil {
		return approval.Record{}, approval.News{}, nil, err
	}
	seen := r.view(now)
	if c.Op != "" && r.op == c.Op {
		return seen, approval.News{}, nil, nil
	}
	if !c.Event.Allowed(seen.State) {
		return seen, approval.News{}, nil, &approval.TransitionError{Event: c.Event, State: seen.State}
	}
	n := approval.News{ID: c.ID}
	if r.State == approval.Approved {
		n.End = c.Op
	}
	r.State, r.Reason, r.op = c.Event.To(), c.Reason, c.Op
	if c.Plan != nil {
		r.Plan = slices.Clone(c.Plan)
	}
	if c.Outcome != nil {
		r.Outcome = slices.Clone(c.Outcome)
	}
	if c.Interval != 0 {
		r.Interval = c.Interval
	}
	switch {
	case !r.State.Live():
		r.ends = now
	case c.Lasts != 0:
		r.ends = now.Add(c.Lasts)
	}
	r.gone = r.ends.Add(c.Keep)
	heap.Fix(&s.removals, r.index)
	return r.view(now), n, s.listening(), nil
}

// Park implements [approval.Store].
func (s *Store) Park(ctx context.Context, ref approval.Ref, sealed []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	r, err := s.find(ref)
	if err != nil {
		return err
	}
	if s.parked-int64(len(r.parked))+int64(len(sealed)) > s.maxParked {
		return approval.ErrFull
	}
	s.parked += int64(len(sealed)) - int64(len(r.parked))
	r.parked = slices.Clone(sealed)
	return nil
}

// Parked implements [approval.Store].
func (s *Store) Parked(ctx context.Context, ref approval.Ref) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	r, err := s.find(ref)
	if err != nil || r.parked == nil {
		return nil, approval.ErrNotFound
	}
	return slices.Clone(r.parked), nil
}

// unpark forgets what is parked. The caller holds the lock.
func (s *Store) unpark(r *record) {
	s.parked -= int64(len(r.parked))
	r.parked = nil
}

// Unpark implements [approval.Store].
func (s *Store) Unpark(ctx context.Context, ref approval.Ref) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	r, err := s.find(ref)
	if err != nil || r.parked == nil {
		return approval.ErrNotFound
	}
	s.unpark(r)
	return nil
}

// Listen implements [approval.Store]. It loses no messages.
func (s *Store) Listen(ctx context.Context, f func(approval.News)) error {
	l := &listener{f: f}
	l.mu.Lock() // the gap comes first
	s.mu.Lock()
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	f(approval.News{Gap: true})
	l.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	delete(s.listeners, l)
	s.mu.Unlock()
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	return ctx.Err()
}

// Close implements [approval.Store].
func (s *Store) Close() error { return nil }

// find returns the record of ref. The caller holds the lock.
func (s *Store) find(ref approval.Ref) (*record, error) {
	r, ok := s.records[place{ref.Owner, ref.Key}]
	if !ok || r.ID != ref.ID {
		return nil, approval.ErrNotFound
	}
	return r, nil
}

// sweep removes what has outlasted its time and returns the time. The
// caller holds the lock. Doing it here, a heap's top at a time, needs no
// goroutine that somebody would have to stop.
func (s *Store) sweep() time.Time {
	now := s.now()
	for len(s.removals) > 0 && !now.Before(s.removals[0].gone) {
		s.removals[0].forget()
	}
	return now
}

// remove forgets a record. The caller holds the lock.
func (s *Store) remove(r *record) {
	s.unpark(r)
	heap.Remove(&s.removals, r.index)
	delete(s.records, place{r.Owner, r.Key})
	if at := (slot{r.Owner, r.Slot}); s.slots[at] == r {
		delete(s.slots, at)
	}
}

// view is the record as a caller may see it at the given time.
func (r *record) view(now time.Time) approval.Record {
	seen := r.Record
	seen.Left, seen.Present = r.ends.Sub(now), r.present.Sub(now)
	if seen.State.Live() && seen.Left <= 0 {
		seen.State, seen.Reason = seen.State.Lapsed()
	}
	seen.Plan = slices.Clone(r.Plan)
	seen.Outcome = slices.Clone(r.Outcome)
	return seen
}

// spent is the record as Spend returns it.
func (r *record) spent() approval.Record {
	return approval.Record{Ref: r.Ref, State: r.State, Outcome: slices.Clone(r.Outcome)}
}

// removal is something that goes at a certain time.
type removal struct {
	gone   time.Time
	forget func()
	index  int // in removals
}

// removals is a heap, what goes first on top.
type removals []*removal

func (h removals) Len() int           { return len(h) }
func (h removals) Less(i, j int) bool { return h[i].gone.Before(h[j].gone) }
func (h removals) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *removals) Push(x any) {
	r := x.(*removal)
	r.index = len(*h)
	*h = append(*h, r)
}

func (h *removals) Pop() any {
	last := len(*h) - 1
	r := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return r
}

// Interface guard
var _ approval.Store = (*Store)(nil)
