package storetest

import (
	"crypto/rand"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

var timeTests = []test{
	{"Left is what is left by the store's clock", testLeft},
	{"a live state that has outlasted its time reads as ended", testLapse},
	{"a lapsed record can be replaced by its ID", testLapseReplaced},
	{"a repeated Change reads as lapsed, too", testLapseAgain},
	{"a record goes when its time is over and it was kept long enough", testKeep},
	{"Change without Lasts keeps the end of a live state", testLastsZero},
	{"Change with Lasts counts from now", testLastsAnew},
}

// wantLeft compares the time that is left with what it was at most, or exactly
// where the harness allows that.
func (f *fixture) wantLeft(r approval.Record, want time.Duration) {
	f.Helper()
	if r.Left > want || r.Left <= 0 || (f.Exact && r.Left != want) {
		f.Errorf("%v left in state %s; want %v", r.Left, r.State, want)
	}
}

func testLeft(f *fixture) {
	ref := newRef()
	f.wantLeft(f.create(ref), f.long())
	f.Advance(f.Tick)
	f.wantLeft(f.get(ref), f.long()-f.Tick)
	again, _, err := f.Store.Create(f.Context(), approval.New{Ref: ref, Lasts: 2 * f.long(), Keep: f.long()})
	if err != nil {
		f.Fatalf("Create: %v", err)
	}
	f.wantLeft(again, f.long()-f.Tick)

	c := approval.Change{Ref: ref, Event: approval.EventStarted, Op: rand.Text(), Lasts: 2 * f.long(), Keep: f.long()}
	f.wantLeft(f.change(c), 2*f.long())
	f.Advance(f.Tick)
	f.wantLeft(f.change(c), 2*f.long()-f.Tick) // a repetition does not begin anew
	f.Advance(f.Tick)
	refused, err := f.Store.Change(f.Context(), approval.Change{Ref: ref, Event: approval.EventSpend, Op: rand.Text()})
	f.wantRefused(err, approval.EventSpend, approval.Pending)
	f.wantLeft(refused, 2*f.long()-2*f.Tick)

	if r := f.event(ref, approval.EventDeny); r.Left > 0 {
		f.Errorf("%v left in an ended state", r.Left)
	}
	f.Advance(f.Tick)
	if r := f.get(ref); r.Left > 0 {
		f.Errorf("%v left in an ended state", r.Left)
	}
}

// lapsed creates a record that lapses in a state.
func (f *fixture) lapsed(s approval.State) approval.Ref {
	f.Helper()
	ref := newRef()
	f.createNew(approval.New{Ref: ref, Plan: []byte("plan"), Lasts: f.short(), Keep: f.long()})
	for _, e := range paths[s] {
		f.change(approval.Change{Ref: ref, Event: e, Lasts: f.short(), Keep: f.long()})
	}
	return ref
}

func testLapse(f *fixture) {
	type want struct {
		ref    approval.Ref
		state  approval.State
		reason approval.Reason
	}
	wants := []want{
		{f.lapsed(approval.Starting), approval.Failed, approval.ReasonInterrupted},
		{f.lapsed(approval.Pending), approval.Expired, ""},
		{f.lapsed(approval.Approved), approval.Expired, ""},
	}
	f.lapse()
	for _, w := range wants {
		seen := approval.Record{Ref: w.ref, State: w.state, Reason: w.reason, Plan: []byte("plan")}
		check := func(r approval.Record) {
			f.Helper()
			f.wantRecord(r, seen)
			if r.Left > 0 {
				f.Errorf("%v left in state %s", r.Left, r.State)
			}
		}
		check(f.get(w.ref))
		for _, e := range events {
			r, err := f.Store.Change(f.Context(), approval.Change{
				Ref: w.ref, Event: e, Op: rand.Text(), Outcome: []byte("late"), Lasts: f.long(), Keep: f.long(),
			})
			f.wantRefused(err, e, w.state)
			check(r)
		}
		r, created, err := f.Store.Create(f.Context(), approval.New{Ref: renamed(w.ref), Lasts: f.long(), Keep: f.long()})
		if created || err != nil {
			f.Errorf("Create: created %t, error %v", created, err)
		}
		check(r)
	}
}

func testLapseReplaced(f *fixture) {
	refs := []approval.Ref{f.lapsed(approval.Starting), f.lapsed(approval.Pending), f.lapsed(approval.Approved)}
	f.lapse()
	for _, ref := range refs {
		next := approval.New{Ref: renamed(ref), Lasts: f.long(), Keep: f.long(), Replace: ref.ID}
		f.wantRecord(f.createNew(next), approval.Record{Ref: next.Ref, State: approval.Starting})
	}
}

func testLapseAgain(f *fixture) {
	ref := newRef()
	f.create(ref)
	c := approval.Change{Ref: ref, Event: approval.EventStarted, Op: rand.Text(), Lasts: f.short(), Keep: f.long()}
	f.change(c)
	f.lapse()
	if r := f.change(c); r.State != approval.Expired {
		f.Errorf("state %s; want expired", r.State)
	}
}

func testKeep(f *fixture) {
	unfinished, ended, kept := newRef(), newRef(), newRef()
	f.createNew(approval.New{Ref: unfinished, Lasts: f.Tick, Keep: f.short() - f.Tick})
	f.create(ended)
	f.change(approval.Change{Ref: ended, Event: approval.EventCancel, Lasts: f.long(), Keep: f.short()})
	f.createNew(approval.New{Ref: kept, Lasts: f.Tick, Keep: f.long()})
	f.lapse()
	f.wantGone(unfinished)
	f.wantGone(ended)
	if r := f.get(kept); r.State != approval.Failed {
		f.Errorf("state %s; want failed", r.State)
	}

	late := approval.Change{Ref: ended, Event: approval.EventCancel, Op: rand.Text(), Keep: f.long()}
	if _, err := f.Store.Change(f.Context(), late); err == nil {
		f.Error("a record that has gone could be changed")
	}
	f.wantGone(ended)
	next := renamed(ended)
	f.create(next)
	if r := f.get(next); r.Ref != next || r.State != approval.Starting {
		f.Errorf("state %s after creating anew", r.State)
	}
}

func testLastsZero(f *fixture) {
	ref := newRef()
	f.createNew(approval.New{Ref: ref, Lasts: f.short(), Keep: 0})
	r := f.change(approval.Change{Ref: ref, Event: approval.EventStarted, Keep: f.long()})
	f.wantLeft(r, f.short())
	r = f.change(approval.Change{Ref: ref, Event: approval.EventSlow, Interval: f.Tick, Keep: f.long()})
	f.wantLeft(r, f.short())
	f.lapse()
	if r := f.get(ref); r.State != approval.Expired {
		f.Errorf("state %s; want expired", r.State)
	}
}

func testLastsAnew(f *fixture) {
	ref := newRef()
	f.createNew(approval.New{Ref: ref, Lasts: f.short(), Keep: 0})
	f.change(approval.Change{Ref: ref, Event: approval.EventStarted, Lasts: f.long(), Keep: 0})
	f.lapse()
	if r := f.get(ref); r.State != approval.Pending {
		f.Errorf("state %s; want pending", r.State)
	}
	// Shorter works as well as longer.
	f.change(approval.Change{Ref: ref, Event: approval.EventApprove, Lasts: f.short(), Keep: f.long()})
	f.lapse()
	if r := f.get(ref); r.State != approval.Expired {
		f.Errorf("state %s; want expired", r.State)
	}
}
