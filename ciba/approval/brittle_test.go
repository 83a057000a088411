package approval_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// brittle is a store that fails when it is told to.
type brittle struct {
	approval.Store

	// written, if set, is shown everything opaque that is stored.
	written func([]byte)

	mu     sync.Mutex
	event  approval.Event
	until  time.Time
	faults []storeFault
	well   bool // for the moment, nothing fails
	calls  map[string]int

	listeners  []func(approval.News)
	afterTouch func() // called between a Touch and its answer
}

// storeFault makes calls of one method fail.
type storeFault struct {
	method string
	calls  int  // how many
	after  bool // what was asked is done, and only the answer is lost
}

var errBrittle = errors.New("store away")

// failChange makes changes by an event fail for so long.
func (s *brittle) failChange(e approval.Event, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.event, s.until = e, time.Now().Add(d)
}

// fail makes the next calls of a method fail.
func (s *brittle) fail(method string, calls int) { s.inject(storeFault{method, calls, false}) }

// lose makes the answers to the next calls of a method go missing.
func (s *brittle) lose(method string, calls int) { s.inject(storeFault{method, calls, true}) }

func (s *brittle) inject(f storeFault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f)
}

// heal ends all faults of calls.
func (s *brittle) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// news tells every listener something that the store did not say.
func (s *brittle) news(n approval.News) {
	s.mu.Lock()
	told := s.listeners
	s.mu.Unlock()
	for _, f := range told {
		f(n)
	}
}

// whileWell calls f while nothing fails.
func (s *brittle) whileWell(f func()) {
	set := func(well bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.well = well
	}
	set(true)
	defer set(false)
	f()
}

// count is how often a method was called.
func (s *brittle) count(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// meet counts a call and returns what becomes of it: whether it is done, and
// its error.
func (s *brittle) meet(method string) (done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = make(map[string]int)
	}
	s.calls[method]++
	for i := range s.faults {
		if f := &s.faults[i]; !s.well && f.method == method && f.calls > 0 {
			f.calls--
			return f.after, errBrittle
		}
	}
	return true, nil
}

// do is one call that returns nothing else.
func (s *brittle) do(method string, call func() error) error {
	_, err := asked(s, method, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// asked is one call that returns a value.
func asked[V any](s *brittle, method string, call func() (V, error)) (V, error) {
	var none V
	done, trouble := s.meet(method)
	if !done {
		return none, trouble
	}
	v, err := call()
	if trouble != nil {
		return none, trouble
	}
	return v, err
}

// show shows what is written.
func (s *brittle) show(all ...[]byte) {
	for _, b := range all {
		if s.written != nil {
			s.written(b)
		}
	}
}

func (s *brittle) Create(ctx context.Context, n approval.New) (approval.Record, bool, error) {
	s.show(n.Plan, n.Session[:], n.Slot[:], n.Owner[:], n.Key[:])
	var created bool
	rec, err := asked(s, "Create", func() (rec approval.Record, err error) {
		rec, created, err = s.Store.Create(ctx, n)
		return rec, err
	})
	return rec, created && err == nil, err
}

func (s *brittle) Get(ctx context.Context, owner approval.Tag, key approval.Key) (approval.Record, error) {
	return asked(s, "Get", func() (approval.Record, error) { return s.Store.Get(ctx, owner, key) })
}

func (s *brittle) Touch(ctx context.Context, owner approval.Tag, key approval.Key, presence time.Duration) (approval.Record, error) {
	rec, err := asked(s, "Touch", func() (approval.Record, error) { return s.Store.Touch(ctx, owner, key, presence) })
	if s.afterTouch != nil {
		s.afterTouch()
	}
	return rec, err
}

func (s *brittle) Change(ctx context.Context, c approval.Change) (approval.Record, error) {
	s.show(c.Plan, c.Outcome)
	s.mu.Lock()
	fail := !s.well && c.Event == s.event && time.Now().Before(s.until)
	s.mu.Unlock()
	if fail {
		return approval.Record{}, errBrittle
	}
	return asked(s, "Change", func() (approval.Record, error) { return s.Store.Change(ctx, c) })
}

func (s *brittle) Spend(ctx context.Context, owner approval.Tag, key approval.Key, op string, presence time.Duration) (approval.Record, bool, error) {
	var spent bool
	rec, err := asked(s, "Spend", func() (rec approval.Record, err error) {
		rec, spent, err = s.Store.Spend(ctx, owner, key, op, presence)
		return rec, err
	})
	return rec, spent && err == nil, err
}

func (s *brittle) Park(ctx context.Context, ref approval.Ref, sealed []byte) error {
	s.show(sealed)
	return s.do("Park", func() error { return s.Store.Park(ctx, ref, sealed) })
}

func (s *brittle) Parked(ctx context.Context, ref approval.Ref) ([]byte, error) {
	return asked(s, "Parked", func() ([]byte, error) { return s.Store.Parked(ctx, ref) })
}

func (s *brittle) Unpark(ctx context.Context, ref approval.Ref) error {
	return s.do("Unpark", func() error { return s.Store.Unpark(ctx, ref) })
}

func (s *brittle) Schedule(ctx context.Context, ref approval.Ref, after time.Duration) error {
	return s.do("Schedule", func() error { return s.Store.Schedule(ctx, ref, after) })
}

func (s *brittle) Claim(ctx context.Context, limit int, lease time.Duration) ([]approval.Lease, time.Duration, error) {
	var next time.Duration
	leases, err := asked(s, "Claim", func() (l []approval.Lease, err error) {
		l, next, err = s.Store.Claim(ctx, limit, lease)
		return l, err
	})
	return leases, next, err
}

func (s *brittle) Extend(ctx context.Context, l approval.Lease, after time.Duration) (approval.Lease, error) {
	return asked(s, "Extend", func() (approval.Lease, error) { return s.Store.Extend(ctx, l, after) })
}

func (s *brittle) Drop(ctx context.Context, l approval.Lease) error {
	return s.do("Drop", func() error { return s.Store.Drop(ctx, l) })
}

func (s *brittle) Take(ctx context.Context, counter approval.Tag, r approval.Rate) (time.Duration, error) {
	return asked(s, "Take", func() (time.Duration, error) { return s.Store.Take(ctx, counter, r) })
}

func (s *brittle) Block(ctx context.Context, counter approval.Tag, p approval.Penalty) error {
	return s.do("Block", func() error { return s.Store.Block(ctx, counter, p) })
}

func (s *brittle) Listen(ctx context.Context, f func(approval.News)) error {
	s.mu.Lock()
	s.listeners = append(s.listeners, f)
	s.mu.Unlock()
	return s.do("Listen", func() error { return s.Store.Listen(ctx, f) })
}
