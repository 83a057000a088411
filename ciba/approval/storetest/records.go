package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

var recordTests = []test{
	{"Create stores a record in state Starting", testCreate},
	{"Create leaves a live record alone", testCreateExisting},
	{"Create replaces an ended record only by its ID", testReplace},
	{"Create repeated with the same ID is harmless", testCreateAgain},
	{"Create lets one of many at the same time win", testCreateRace},
	{"Get and Change do not find what is not there", testAbsent},
	{"Change follows the table of transitions", testTransitions},
	{"Change replaces what it is given and keeps the rest", testChangeFields},
	{"Change recognises its own repetition", testChangeAgain},
	{"one of 100 concurrent spends succeeds", testSpendRace},
	{"another Op cannot spend again", testSpendTwice},
	{"records of different owners under one key are separate", testOwners},
	{"all byte values survive", testBinary},
	{"slices belong to the caller", testAliasing},
	{"a cancelled context stops every method and changes nothing", testCancelled},
}

func testCreate(f *fixture) {
	n := approval.New{Ref: newRef(), Session: approval.Tag{1, 2, 3}, Plan: []byte("plan"), Lasts: f.long(), Keep: f.long()}
	want := approval.Record{Ref: n.Ref, State: approval.Starting, Session: n.Session, Plan: n.Plan}
	f.wantGone(n.Ref)
	f.wantRecord(f.createNew(n), want)
	f.wantRecord(f.get(n.Ref), want)
}

func testCreateExisting(f *fixture) {
	for _, s := range []approval.State{approval.Starting, approval.Pending, approval.Approved} {
		ref := f.inState(s)
		before := f.get(ref)
		for _, replace := range []string{"", ref.ID, rand.Text()} {
			n := approval.New{Ref: renamed(ref), Plan: []byte("other"), Lasts: f.long(), Keep: f.long(), Replace: replace}
			r, created, err := f.Store.Create(f.Context(), n)
			if err != nil || created {
				f.Errorf("%s: created %t, error %v", s, created, err)
			}
			f.wantRecord(r, before)
			f.wantRecord(f.get(ref), before)
		}
	}
}

func testReplace(f *fixture) {
	for s := range paths {
		if s.Live() {
			continue
		}
		ref := newRef()
		f.createNew(approval.New{Ref: ref, Session: approval.Tag{1}, Plan: []byte("plan"), Lasts: f.long(), Keep: f.long()})
		for _, e := range paths[s] {
			f.change(approval.Change{
				Ref: ref, Event: e, Reason: approval.ReasonProvider, Interval: f.Tick,
				Outcome: []byte("outcome"), Lasts: f.long(), Keep: f.long(),
			})
		}
		before := f.get(ref)

		next := approval.New{
			Ref: renamed(ref), Session: approval.Tag{2}, Plan: []byte("next"), Lasts: f.long(), Keep: f.long(),
		}
		for _, replace := range []string{"", rand.Text(), next.ID} {
			next.Replace = replace
			r, created, err := f.Store.Create(f.Context(), next)
			if err != nil || created {
				f.Errorf("%s: created %t, error %v", s, created, err)
			}
			f.wantRecord(r, before)
		}

		next.Replace = ref.ID
		want := approval.Record{Ref: next.Ref, State: approval.Starting, Session: next.Session, Plan: next.Plan}
		f.wantRecord(f.createNew(next), want)
		f.wantRecord(f.get(ref), want)
		// The answer to that may have been lost.
		f.wantRecord(f.createNew(next), want)

		late := approval.Change{Ref: ref, Event: approval.EventCancel, Op: rand.Text(), Keep: f.long()}
		if _, err := f.Store.Change(f.Context(), late); !errors.Is(err, approval.ErrNotFound) {
			f.Errorf("Change of the replaced record: error %v; want ErrNotFound", err)
		}
		f.wantRecord(f.get(ref), want)
	}
}

func testCreateAgain(f *fixture) {
	for s := range paths {
		ref := f.inState(s)
		before := f.get(ref)
		n := approval.New{Ref: ref, Plan: []byte("other"), Lasts: f.long(), Keep: f.long()}
		for _, n.Replace = range []string{"", ref.ID} {
			f.wantRecord(f.createNew(n), before)
			f.wantRecord(f.get(ref), before)
		}
	}
}

func testCreateRace(f *fixture) {
	ref := newRef()
	var created atomic.Int32
	var wg sync.WaitGroup
	ids := make([]string, 50)
	for i := range ids {
		wg.Go(func() {
			n := approval.New{Ref: renamed(ref), Lasts: f.long(), Keep: f.long()}
			r, is, err := f.Store.Create(f.Context(), n)
			if err != nil {
				f.Errorf("Create: %v", err)
			}
			if is {
				created.Add(1)
			}
			if is != (r.ID == n.ID) {
				f.Errorf("created %t, and the record is another's: %t", is, r.ID != n.ID)
			}
			ids[i] = r.ID
		})
	}
	wg.Wait()
	if n := created.Load(); n != 1 {
		f.Errorf("%d records were created; want 1", n)
	}
	for _, id := range ids {
		if id != ids[0] {
			f.Error("callers were told of different records")
		}
	}
}

func testAbsent(f *fixture) {
	ref := f.inState(approval.Pending)
	before := f.get(ref)
	for name, other := range map[string]approval.Ref{
		"nothing":       newRef(),
		"other ID":      renamed(ref),
		"other owner":   {Owner: approval.Tag{1}, Key: ref.Key, ID: ref.ID},
		"other binding": {Owner: ref.Owner, Key: approval.Key{1}, ID: ref.ID},
	} {
		for _, e := range events {
			c := approval.Change{Ref: other, Event: e, Op: rand.Text(), Lasts: f.long(), Keep: f.long()}
			if r, err := f.Store.Change(f.Context(), c); !errors.Is(err, approval.ErrNotFound) || r.State != "" {
				f.Errorf("%s: Change %s: state %q, error %v; want ErrNotFound and no record", name, e, r.State, err)
			}
		}
	}
	f.wantGone(newRef())
	f.wantRecord(f.get(ref), before)
}

func testTransitions(f *fixture) {
	for s := range paths {
		for _, e := range events {
			f.Run(string(s)+" "+string(e), func(t *testing.T) {
				f := &fixture{T: t, Harness: f.Harness}
				ref := f.inState(s)
				before := f.get(ref)
				r, err := f.Store.Change(f.Context(), approval.Change{
					Ref: ref, Event: e, Reason: approval.ReasonProvider, Op: rand.Text(), Interval: 3 * f.Tick,
					Plan: []byte("new plan"), Outcome: []byte("outcome"), Lasts: f.long(), Keep: f.long(),
				})
				want := before
				if e.Allowed(s) {
					if err != nil {
						t.Errorf("error %v", err)
					}
					want.State, want.Reason, want.Interval = e.To(), approval.ReasonProvider, 3*f.Tick
					want.Plan, want.Outcome = []byte("new plan"), []byte("outcome")
				} else {
					f.wantRefused(err, e, s)
				}
				f.wantRecord(r, want)
				f.wantRecord(f.get(ref), want)
				if ended := !want.State.Live(); ended != (r.Left <= 0) {
					t.Errorf("%v left in state %s", r.Left, want.State)
				}
			})
		}
	}
}

func testChangeFields(f *fixture) {
	ref := newRef()
	f.createNew(approval.New{Ref: ref, Session: approval.Tag{7}, Plan: []byte("a"), Lasts: f.long(), Keep: f.long()})
	want := approval.Record{Ref: ref, Session: approval.Tag{7}, State: approval.Pending, Plan: []byte("b"), Interval: f.Tick}
	f.wantRecord(f.change(approval.Change{
		Ref: ref, Event: approval.EventStarted, Plan: []byte("b"), Interval: f.Tick, Lasts: f.long(), Keep: f.long(),
	}), want)

	want.Interval = 2 * f.Tick
	f.wantRecord(f.change(approval.Change{
		Ref: ref, Event: approval.EventSlow, Interval: 2 * f.Tick, Keep: f.long(),
	}), want)

	want.State, want.Outcome = approval.Approved, []byte("c")
	f.wantRecord(f.change(approval.Change{
		Ref: ref, Event: approval.EventApprove, Outcome: []byte("c"), Lasts: f.long(), Keep: f.long(),
	}), want)

	want.State, want.Reason = approval.Cancelled, approval.ReasonUnreadable
	f.wantRecord(f.change(approval.Change{
		Ref: ref, Event: approval.EventCancel, Reason: approval.ReasonUnreadable, Keep: f.long(),
	}), want)
	f.wantRecord(f.get(ref), want)
}

func testChangeAgain(f *fixture) {
	ref := f.inState(approval.Pending)
	slow := approval.Change{Ref: ref, Event: approval.EventSlow, Op: rand.Text(), Interval: 2 * f.Tick, Keep: f.long()}
	want := f.change(slow)

	again := slow
	again.Interval, again.Plan = 9*f.Tick, []byte("again")
	f.wantRecord(f.change(again), want)
	f.wantRecord(f.get(ref), want)

	// The repetition of one that leads out of the state that allows it.
	approve := approval.Change{
		Ref: ref, Event: approval.EventApprove, Op: rand.Text(), Outcome: []byte("o"), Lasts: f.long(), Keep: f.long(),
	}
	want = f.change(approve)
	f.wantRecord(f.change(approve), want)

	spend := approval.Change{Ref: ref, Event: approval.EventSpend, Op: rand.Text(), Keep: f.long()}
	want = f.change(spend)
	f.wantRecord(f.change(spend), want)
	f.wantRecord(f.get(ref), want)
}

func testSpendRace(f *fixture) {
	ref := f.inState(approval.Approved)
	var spent atomic.Int32
	var wg sync.WaitGroup
	for i := range 100 {
		store := f.Store
		if i%2 == 1 {
			store = f.Other
		}
		wg.Go(func() {
			c := approval.Change{Ref: ref, Event: approval.EventSpend, Op: rand.Text(), Keep: f.long()}
			r, err := store.Change(f.Context(), c)
			if r.State != approval.Spent {
				f.Errorf("state %s after a spend", r.State)
			}
			if err == nil {
				spent.Add(1)
			} else {
				f.wantRefused(err, approval.EventSpend, approval.Spent)
			}
		})
	}
	wg.Wait()
	if n := spent.Load(); n != 1 {
		f.Errorf("%d spends succeeded; want 1", n)
	}
}

func testSpendTwice(f *fixture) {
	ref := f.inState(approval.Approved)
	f.event(ref, approval.EventSpend)
	for _, op := range []string{rand.Text(), ""} {
		c := approval.Change{Ref: ref, Event: approval.EventSpend, Op: op, Keep: f.long()}
		_, err := f.Store.Change(f.Context(), c)
		f.wantRefused(err, approval.EventSpend, approval.Spent)
	}

	// No Op is not the Op of a record that has never changed.
	fresh := f.inState(approval.Starting)
	_, err := f.Store.Change(f.Context(), approval.Change{Ref: fresh, Event: approval.EventSpend, Keep: f.long()})
	f.wantRefused(err, approval.EventSpend, approval.Starting)
}

func testOwners(f *fixture) {
	one, two := newRef(), newRef()
	two.Key = one.Key
	f.create(one)
	f.create(two)
	f.event(one, approval.EventCancel)
	if r := f.get(one); r.State != approval.Cancelled || r.Ref != one {
		f.Errorf("the first owner's record is %s", r.State)
	}
	if r := f.get(two); r.State != approval.Starting || r.Ref != two {
		f.Errorf("the second owner's record is %s", r.State)
	}
}

// everyByte holds each byte value once.
func everyByte() []byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return all
}

func testBinary(f *fixture) {
	all := everyByte()
	for i := 0; i < len(all); i += 32 {
		ref := approval.Ref{Owner: approval.Tag(all[i:]), Key: approval.Key(all[i:]), ID: rand.Text()}
		n := approval.New{Ref: ref, Session: approval.Tag(all[i:]), Slot: approval.Tag(all[i+16:]), Plan: all, Lasts: f.long(), Keep: f.long()}
		f.createNew(n)
		f.event(ref, approval.EventStarted)
		f.change(approval.Change{Ref: ref, Event: approval.EventApprove, Outcome: all, Lasts: f.long(), Keep: f.long()})
		f.wantRecord(f.get(ref), approval.Record{
			Ref: ref, State: approval.Approved, Session: n.Session, Slot: n.Slot, Plan: all, Outcome: all,
		})
		if err := f.Store.Schedule(f.Context(), ref, 0); err != nil {
			f.Errorf("Schedule: %v", err)
		}
		if l := f.claim(1); l.Ref != ref {
			f.Error("the queue does not return the reference that it was given")
		}
	}
}

func testAliasing(f *fixture) {
	n := approval.New{Ref: newRef(), Plan: []byte("plan"), Lasts: f.long(), Keep: f.long()}
	r := f.createNew(n)
	n.Plan[0], r.Plan[1] = 'X', 'X'
	c := approval.Change{
		Ref: n.Ref, Event: approval.EventStarted, Op: rand.Text(), Outcome: []byte("outcome"), Lasts: f.long(), Keep: f.long(),
	}
	r = f.change(c)
	c.Outcome[0], r.Plan[2], r.Outcome[1] = 'X', 'X', 'X'
	if r, _, err := f.Store.Create(f.Context(), n); err != nil {
		f.Errorf("Create: %v", err)
	} else {
		r.Plan[3] = 'X'
	}
	r = f.get(n.Ref)
	if string(r.Plan) != "plan" || string(r.Outcome) != "outcome" {
		f.Errorf("the record reads %q and %q after its slices were written to", r.Plan, r.Outcome)
	}
	r.Plan[0] = 'X'
	if r := f.get(n.Ref); string(r.Plan) != "plan" {
		f.Errorf("the record reads %q after a result was written to", r.Plan)
	}

	c = approval.Change{Ref: n.Ref, Event: approval.EventSlow, Op: rand.Text(), Plan: []byte("again"), Keep: f.long()}
	f.change(c)
	c.Plan[0] = 'X'
	if r := f.get(n.Ref); string(r.Plan) != "again" {
		f.Errorf("the record reads %q after an argument was written to", r.Plan)
	}

	body := []byte("body")
	f.park(n.Ref, body)
	body[0] = 'X'
	f.parked(n.Ref)[1] = 'X'
	if got := f.parked(n.Ref); !bytes.Equal(got, []byte("body")) {
		f.Errorf("the parked body reads %q after its slices were written to", got)
	}
}

func testCancelled(f *fixture) {
	ref := f.inState(approval.Approved)
	f.park(ref, []byte("body"))
	f.schedule(ref, 0)
	lease := f.claim(1)
	before := f.get(ref)

	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	fresh, counter := newRef(), newCounter()
	rate := approval.Rate{Burst: 1, Per: f.long()}
	s := f.Store
	for name, call := range map[string]func() error{
		"Create": func() error {
			_, _, err := s.Create(ctx, approval.New{Ref: fresh, Lasts: f.long(), Keep: f.long()})
			return err
		},
		"Get": func() error { _, err := s.Get(ctx, ref.Owner, ref.Key); return err },
		"Change": func() error {
			_, err := s.Change(ctx, approval.Change{Ref: ref, Event: approval.EventSpend, Op: rand.Text(), Keep: f.long()})
			return err
		},
		"Touch":    func() error { _, err := s.Touch(ctx, ref.Owner, ref.Key, f.long()); return err },
		"Take":     func() error { _, err := s.Take(ctx, counter, rate); return err },
		"Block":    func() error { return s.Block(ctx, counter, approval.Penalty{First: f.long(), Longest: f.long()}) },
		"Park":     func() error { return s.Park(ctx, ref, []byte("other")) },
		"Parked":   func() error { _, err := s.Parked(ctx, ref); return err },
		"Unpark":   func() error { return s.Unpark(ctx, ref) },
		"Schedule": func() error { return s.Schedule(ctx, fresh, 0) },
		"Claim":    func() error { _, _, err := s.Claim(ctx, 1, f.long()); return err },
		"Extend":   func() error { _, err := s.Extend(ctx, lease, 0); return err },
		"Drop":     func() error { return s.Drop(ctx, lease) },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			f.Errorf("%s: error %v; want context.Canceled", name, err)
		}
	}
	f.wantGone(fresh)
	f.wantRecord(f.get(ref), before)
	if r := f.get(ref); r.Present > 0 {
		f.Errorf("present for %v", r.Present)
	}
	f.wantWait(f.take(counter, rate), 0)
	if got := f.parked(ref); string(got) != "body" {
		f.Errorf("parked %q", got)
	}
	f.wantNone()
	if _, err := s.Extend(f.Context(), lease, 0); err != nil {
		f.Errorf("Extend: %v", err)
	}
}
