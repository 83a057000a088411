package storetest

import (
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

var slotTests = []test{
	{"a slot is held while the person is asked", testSlot},
	{"a slot is free when its holder has lapsed", testSlotLapsed},
	{"a slot is held for as long as its holder is prolonged", testSlotProlonged},
	{"slots of other names and other owners are free", testSlotSeparate},
	{"Create under a held slot prefers the record under its own key", testSlotOwnKey},
	{"one of many at the same time gets a slot", testSlotRace},
	{"Touch prolongs presence and nothing else", testTouch},
}

// slotted is a new record that holds a slot.
func (f *fixture) slotted(owner, slot approval.Tag) approval.New {
	ref := newRef()
	ref.Owner = owner
	return approval.New{Ref: ref, Slot: slot, Lasts: f.long(), Keep: f.long()}
}

// wantBusy fails unless a slot is held by a record.
func (f *fixture) wantBusy(n approval.New, by approval.Record) {
	f.Helper()
	r, created, err := f.Store.Create(f.Context(), n)
	if created || !errors.Is(err, approval.ErrBusy) {
		f.Errorf("Create: created %t, error %v; want ErrBusy", created, err)
	}
	f.wantRecord(r, by)
	f.wantGone(n.Ref)
}

func testSlot(f *fixture) {
	for _, end := range events {
		if end.To().Waiting() || end == approval.EventSpend {
			continue
		}
		owner, slot := newRef().Owner, newRef().Owner
		first, second := f.slotted(owner, slot), f.slotted(owner, slot)
		want := f.createNew(first)
		if want.Slot != slot {
			f.Error("the record is of another slot")
		}
		f.wantBusy(second, want)
		change := func(e approval.Event) approval.Record {
			f.Helper()
			return f.change(approval.Change{Ref: first.Ref, Slot: slot, Event: e, Lasts: f.long(), Keep: f.long()})
		}
		f.wantBusy(second, change(approval.EventStarted))
		f.wantBusy(second, change(approval.EventSlow))
		change(end)
		if r := f.createNew(second); r.Ref != second.Ref {
			f.Errorf("%s did not free the slot", end)
		}
		// What the first one's end does later is not the second one's.
		if end == approval.EventApprove {
			change(approval.EventSpend)
		}
		f.wantBusy(f.slotted(owner, slot), f.get(second.Ref))
		f.createNew(first) // its own repetition is no use of the slot
	}
}

func testSlotLapsed(f *fixture) {
	owner, slot := newRef().Owner, newRef().Owner
	first := f.slotted(owner, slot)
	first.Lasts = f.short()
	f.createNew(first)
	f.lapse()
	second := f.slotted(owner, slot)
	f.createNew(second)
	late := approval.Change{Ref: first.Ref, Slot: slot, Event: approval.EventCancel, Op: rand.Text(), Keep: f.long()}
	if _, err := f.Store.Change(f.Context(), late); err == nil {
		f.Error("a lapsed record could be cancelled")
	}
	f.wantBusy(f.slotted(owner, slot), f.get(second.Ref))
}

func testSlotProlonged(f *fixture) {
	owner, slot := newRef().Owner, newRef().Owner
	first := f.slotted(owner, slot)
	first.Lasts = f.short()
	f.createNew(first)
	want := f.change(approval.Change{
		Ref: first.Ref, Slot: slot, Event: approval.EventStarted, Lasts: f.long(), Keep: f.long(),
	})
	f.lapse()
	f.wantBusy(f.slotted(owner, slot), want)
}

func testSlotSeparate(f *fixture) {
	owner, slot := newRef().Owner, newRef().Owner
	f.createNew(f.slotted(owner, slot))
	f.createNew(f.slotted(owner, newRef().Owner))
	f.createNew(f.slotted(newRef().Owner, slot))
	f.createNew(f.slotted(owner, approval.Tag{}))
}

func testSlotOwnKey(f *fixture) {
	owner, slot := newRef().Owner, newRef().Owner
	ended := f.slotted(owner, slot)
	f.createNew(ended)
	before := f.change(approval.Change{Ref: ended.Ref, Slot: slot, Event: approval.EventDeny, Keep: f.long()})
	holder := f.slotted(owner, slot)
	f.createNew(holder)

	// Not asked to replace it, Create returns the ended one.
	n := ended
	n.Ref = renamed(ended.Ref)
	r, created, err := f.Store.Create(f.Context(), n)
	if created || err != nil {
		f.Errorf("Create: created %t, error %v", created, err)
	}
	f.wantRecord(r, before)

	// Asked to, it does not: the slot is held, and the ended one stays.
	n.Replace = ended.ID
	r, created, err = f.Store.Create(f.Context(), n)
	if created || !errors.Is(err, approval.ErrBusy) {
		f.Errorf("Create: created %t, error %v; want ErrBusy", created, err)
	}
	f.wantRecord(r, f.get(holder.Ref))
	f.wantRecord(f.get(ended.Ref), before)
}

func testSlotRace(f *fixture) {
	owner, slot := newRef().Owner, newRef().Owner
	var created atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			_, is, err := f.Store.Create(f.Context(), f.slotted(owner, slot))
			switch {
			case is && err == nil:
				created.Add(1)
			case is || !errors.Is(err, approval.ErrBusy):
				f.Errorf("Create: created %t, error %v; want ErrBusy", is, err)
			}
		})
	}
	wg.Wait()
	if n := created.Load(); n != 1 {
		f.Errorf("%d records hold the slot; want 1", n)
	}
}

func testTouch(f *fixture) {
	n := approval.New{Ref: newRef(), Plan: []byte("plan"), Lasts: f.short(), Keep: 0}
	if r := f.createNew(n); r.Present > 0 {
		f.Errorf("present for %v without anybody having said so", r.Present)
	}
	n = f.slotted(n.Owner, newRef().Owner)
	n.Presence, n.Lasts = f.short(), 2*f.long()
	want := f.createNew(n)
	f.wantPresent(want, f.short())
	touch := func(d time.Duration) approval.Record {
		f.Helper()
		r, err := f.Store.Touch(f.Context(), n.Owner, n.Key, d)
		if err != nil {
			f.Fatalf("Touch: %v", err)
		}
		f.wantRecord(r, want)
		return r
	}
	f.wantPresent(touch(f.long()), f.long())
	r := touch(0) // does not make it shorter
	f.wantPresent(r, f.long())
	f.wantLeft(r, 2*f.long())
	f.lapse()
	f.wantPresent(f.get(n.Ref), f.long()-f.short()-f.Tick)
	want = f.change(approval.Change{Ref: n.Ref, Slot: n.Slot, Event: approval.EventStarted, Keep: f.long()})
	f.wantPresent(want, f.long()-f.short()-f.Tick)

	if _, err := f.Store.Touch(f.Context(), n.Owner, newRef().Key, f.long()); !errors.Is(err, approval.ErrNotFound) {
		f.Errorf("Touch: error %v; want ErrNotFound", err)
	}

	// Neither the state nor the record lives longer for being looked at.
	n = approval.New{Ref: newRef(), Plan: []byte("plan"), Lasts: f.short(), Keep: 0}
	want = f.createNew(n)
	touch(f.long())
	f.lapse()
	f.wantGone(n.Ref)

	// Presence ends.
	n = f.slotted(n.Owner, newRef().Owner)
	n.Presence = f.short()
	f.createNew(n)
	f.lapse()
	if r := f.get(n.Ref); r.Present > 0 {
		f.Errorf("present for %v; want nobody", r.Present)
	}
}

// wantPresent compares for how much longer somebody waits with what it was at
// most, or exactly where the harness allows that.
func (f *fixture) wantPresent(r approval.Record, want time.Duration) {
	f.Helper()
	if r.Present > want || r.Present <= 0 || (f.Exact && r.Present != want) {
		f.Errorf("present for %v; want %v", r.Present, want)
	}
}
