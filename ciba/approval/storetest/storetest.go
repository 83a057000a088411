// Package storetest holds what every [approval.Store] must do, as tests to run
// against one.
package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// Harness is a store to test, and its time.
type Harness struct {
	// Store is empty: no records, nothing in the queue.
	Store approval.Store

	// Other is a second handle on the same store, as another gateway has one.
	// It may be the same value where there can be no second one.
	Other approval.Store

	// Tick is the unit of the durations in the tests. Where time is real, the
	// tests trust the store to do a handful of calls within 6 of them.
	Tick time.Duration

	// Advance returns when so much of the store's time has passed.
	Advance func(time.Duration)

	// Exact says that no time passes but by Advance, and lets the tests be
	// exact about it.
	Exact bool
}

// Run runs the suite. It calls open for every test, and open cleans up with
// t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	for _, group := range [][]test{recordTests, timeTests, slotTests, spendTests, parkTests, queueTests, budgetTests, newsTests, modelTests} {
		for _, test := range group {
			t.Run(test.name, func(t *testing.T) {
				test.run(&fixture{T: t, Harness: open(t)})
			})
		}
	}
}

type test struct {
	name string
	run  func(*fixture)
}

// fixture is a test's store and what helps with it.
type fixture struct {
	*testing.T
	Harness
}

// short is a time that a test lets pass, long one that it does not outlast.
func (f *fixture) short() time.Duration { return 6 * f.Tick }
func (f *fixture) long() time.Duration  { return 1000 * f.Tick }

// lapse lets pass what was given a short time.
func (f *fixture) lapse() {
	f.Helper()
	f.Advance(f.short() + f.Tick)
}

// newRef is a name that no record has.
func newRef() approval.Ref {
	ref := approval.Ref{ID: rand.Text()}
	rand.Read(ref.Owner[:])
	rand.Read(ref.Key[:])
	return ref
}

// renamed is the same owner and key with another ID.
func renamed(ref approval.Ref) approval.Ref {
	ref.ID = rand.Text()
	return ref
}

// create stores a new record that lasts long.
func (f *fixture) create(ref approval.Ref) approval.Record {
	f.Helper()
	return f.createNew(approval.New{Ref: ref, Plan: []byte("plan"), Lasts: f.long(), Keep: f.long()})
}

// createNew stores a record that must be new.
func (f *fixture) createNew(n approval.New) approval.Record {
	f.Helper()
	r, created, err := f.Store.Create(f.Context(), n)
	if err != nil || !created {
		f.Fatalf("Create: created %t, error %v", created, err)
	}
	return r
}

// get reads a record that must be there.
func (f *fixture) get(ref approval.Ref) approval.Record {
	f.Helper()
	r, err := f.Store.Get(f.Context(), ref.Owner, ref.Key)
	if err != nil {
		f.Fatalf("Get: %v", err)
	}
	return r
}

// change makes a change that must be allowed, under an Op of its own.
func (f *fixture) change(c approval.Change) approval.Record {
	f.Helper()
	if c.Op == "" {
		c.Op = rand.Text()
	}
	r, err := f.Store.Change(f.Context(), c)
	if err != nil {
		f.Fatalf("Change %s: %v", c.Event, err)
	}
	return r
}

// event applies an event; the new state lasts long and is kept long.
func (f *fixture) event(ref approval.Ref, e approval.Event) approval.Record {
	f.Helper()
	return f.change(approval.Change{Ref: ref, Event: e, Lasts: f.long(), Keep: f.long()})
}

// paths tells how to bring a new record into a state.
var paths = map[approval.State][]approval.Event{
	approval.Starting:  nil,
	approval.Pending:   {approval.EventStarted},
	approval.Approved:  {approval.EventStarted, approval.EventApprove},
	approval.Spent:     {approval.EventStarted, approval.EventApprove, approval.EventSpend},
	approval.Denied:    {approval.EventDeny},
	approval.Expired:   {approval.EventExpire},
	approval.Cancelled: {approval.EventCancel},
	approval.Failed:    {approval.EventFail},
}

// events are all events there are.
var events = []approval.Event{
	approval.EventStarted, approval.EventSlow, approval.EventApprove, approval.EventDeny,
	approval.EventExpire, approval.EventCancel, approval.EventFail, approval.EventSpend,
}

// inState creates a record and brings it into a state.
func (f *fixture) inState(s approval.State) approval.Ref {
	f.Helper()
	ref := newRef()
	f.create(ref)
	for _, e := range paths[s] {
		f.event(ref, e)
	}
	return ref
}

// wantGone fails unless there is no record under an owner and key.
func (f *fixture) wantGone(ref approval.Ref) {
	f.Helper()
	if r, err := f.Store.Get(f.Context(), ref.Owner, ref.Key); !errors.Is(err, approval.ErrNotFound) {
		f.Errorf("Get: state %q, error %v; want ErrNotFound", r.State, err)
	}
}

// wantRecord compares all of a record but the times that run.
func (f *fixture) wantRecord(got, want approval.Record) {
	f.Helper()
	got.Left, want.Left = 0, 0
	got.Present, want.Present = 0, 0
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		f.Errorf("record (-want +got):\n%s", diff)
	}
}

// wantRefused fails unless a change was refused because of a state.
func (f *fixture) wantRefused(err error, e approval.Event, s approval.State) {
	f.Helper()
	refused, ok := errors.AsType[*approval.TransitionError](err)
	if !ok || refused.Event != e || refused.State != s {
		f.Errorf("error %v; want a TransitionError for %s in state %s", err, e, s)
	}
}

// receive waits for a value. The wait is real, whatever the store's time is,
// and long enough to mean that nothing comes.
func receive[V any](f *fixture, from <-chan V, what string) V {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), 20*time.Second)
	defer cancel()
	select {
	case v := <-from:
		return v
	case <-ctx.Done():
		f.Fatalf("no %s came", what)
		panic("unreachable")
	}
}
