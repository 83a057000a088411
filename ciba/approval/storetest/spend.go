package storetest

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

var spendTests = []test{
	{"Spend uses an approval once", testSpend},
	{"Spend may be repeated", testSpendRepeated},
	{"one of many Spends at the same time succeeds", testSpendAtOnce},
	{"Spend leaves what is not approved as it is", testSpendRefused},
	{"Spend does not use what has lapsed", testSpendLapsed},
	{"Spend forgets what is parked", testSpendParked},
	{"a spent record is kept and goes", testSpendKept},
}

// approved is a record in state Approved.
func (f *fixture) approved() approval.Record {
	f.Helper()
	n := f.slotted(newRef().Owner, newRef().Owner)
	f.createNew(n)
	f.change(approval.Change{Ref: n.Ref, Slot: n.Slot, Event: approval.EventStarted, Lasts: f.long(), Keep: f.long()})
	return f.change(approval.Change{
		Ref: n.Ref, Slot: n.Slot, Event: approval.EventApprove, Outcome: []byte("proof"), Lasts: f.long(), Keep: f.long(),
	})
}

// spend calls Spend, which must not fail.
func (f *fixture) spend(ref approval.Ref, op string) (approval.Record, bool) {
	f.Helper()
	r, spent, err := f.Store.Spend(f.Context(), ref.Owner, ref.Key, op, f.long())
	if err != nil {
		f.Fatal(err)
	}
	return r, spent
}

func testSpend(f *fixture) {
	a := f.approved()
	r, spent := f.spend(a.Ref, "first")
	if !spent {
		f.Errorf("Spend: %t", spent)
	}
	f.wantRecord(r, approval.Record{Ref: a.Ref, State: approval.Spent, Outcome: a.Outcome})
	r, spent = f.spend(a.Ref, "second")
	if spent || r.State != approval.Spent {
		f.Errorf("a second Spend: %t, %s", spent, r.State)
	}
	te := (*approval.TransitionError)(nil)
	_, err := f.Store.Change(f.Context(), approval.Change{Ref: a.Ref, Event: approval.EventSpend, Op: "third", Keep: f.long()})
	if !errors.As(err, &te) {
		f.Errorf("Change after Spend: %v, want a TransitionError", err)
	}
	if _, _, err := f.Store.Spend(f.Context(), a.Owner, newRef().Key, "x", f.long()); !errors.Is(err, approval.ErrNotFound) {
		f.Errorf("Spend of nothing: %v, want ErrNotFound", err)
	}
}

func testSpendRepeated(f *fixture) {
	a := f.approved()
	for range 2 {
		if r, spent := f.spend(a.Ref, "op"); !spent || r.State != approval.Spent {
			f.Errorf("Spend: %t, %s", spent, r.State)
		}
	}
}

func testSpendAtOnce(f *fixture) {
	a := f.approved()
	var spent atomic.Int32
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			s := f.Store
			if i%2 == 0 {
				s = f.Other
			}
			_, ok, err := s.Spend(f.Context(), a.Owner, a.Key, newRef().ID, f.long())
			if err != nil {
				f.Error(err)
			}
			if ok {
				spent.Add(1)
			}
		})
	}
	all.Wait()
	if spent.Load() != 1 {
		f.Errorf("%d Spends succeeded, want 1", spent.Load())
	}
}

func testSpendRefused(f *fixture) {
	n := f.slotted(newRef().Owner, newRef().Owner)
	f.createNew(n)
	// A record that nothing has happened to has no Op: none is no repetition.
	if r, spent := f.spend(n.Ref, ""); spent || r.State != approval.Starting {
		f.Errorf("before it was started: %t, %s", spent, r.State)
	}
	for _, event := range []approval.Event{approval.EventStarted, approval.EventDeny} {
		want := f.change(approval.Change{Ref: n.Ref, Slot: n.Slot, Event: event, Lasts: f.long(), Keep: f.long()})
		if r, spent := f.spend(n.Ref, "op "+string(event)); spent || r.State != want.State {
			f.Errorf("after %s: %t, %s", event, spent, r.State)
		} else if r.State == approval.Pending && r.Present <= f.short() {
			f.Errorf("somebody is taken to wait for %v", r.Present)
		}
	}
}

func testSpendLapsed(f *fixture) {
	n := f.slotted(newRef().Owner, newRef().Owner)
	f.createNew(n)
	f.change(approval.Change{Ref: n.Ref, Slot: n.Slot, Event: approval.EventStarted, Lasts: f.long(), Keep: f.long()})
	f.change(approval.Change{Ref: n.Ref, Slot: n.Slot, Event: approval.EventApprove, Lasts: f.short(), Keep: f.long()})
	f.lapse()
	if r, spent := f.spend(n.Ref, "op"); spent || r.State != approval.Expired {
		f.Errorf("%t, %s; want expired", spent, r.State)
	}
}

func testSpendParked(f *fixture) {
	a := f.approved()
	if err := f.Store.Park(f.Context(), a.Ref, []byte("body")); err != nil {
		f.Fatal(err)
	}
	f.spend(a.Ref, "op")
	if _, err := f.Store.Parked(f.Context(), a.Ref); !errors.Is(err, approval.ErrNotFound) {
		f.Errorf("Parked after Spend: %v, want ErrNotFound", err)
	}
}

func testSpendKept(f *fixture) {
	n := f.slotted(newRef().Owner, newRef().Owner)
	f.createNew(n)
	f.change(approval.Change{Ref: n.Ref, Slot: n.Slot, Event: approval.EventStarted, Lasts: f.long(), Keep: f.long()})
	f.change(approval.Change{
		Ref: n.Ref, Slot: n.Slot, Event: approval.EventApprove, Outcome: []byte("proof"), Lasts: f.short(), Keep: f.short(),
	})
	if _, spent := f.spend(n.Ref, "op"); !spent {
		f.Fatal("not spent")
	}
	f.lapse()
	if r, err := f.Store.Get(f.Context(), n.Owner, n.Key); err != nil || r.State != approval.Spent {
		f.Errorf("%s, %v", r.State, err)
	}
	f.lapse()
	f.wantGone(n.Ref)
}
