package storetest

import (
	"bytes"
	"errors"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

var parkTests = []test{
	{"Parked returns what was parked last, until Unpark", testPark},
	{"Park needs the record", testParkAbsent},
	{"a replaced record leaves nothing parked", testParkReplaced},
	{"what is parked lives on when the record does", testParkProlonged},
	{"what is parked goes with the record", testParkGone},
	{"a parked body of 1 MiB with all byte values survives", testParkLarge},
}

// park parks a body, which must succeed.
func (f *fixture) park(ref approval.Ref, sealed []byte) {
	f.Helper()
	if err := f.Store.Park(f.Context(), ref, sealed); err != nil {
		f.Fatalf("Park: %v", err)
	}
}

// parked returns what is parked, which must be there.
func (f *fixture) parked(ref approval.Ref) []byte {
	f.Helper()
	sealed, err := f.Store.Parked(f.Context(), ref)
	if err != nil {
		f.Fatalf("Parked: %v", err)
	}
	return sealed
}

// wantNotParked fails if anything is parked.
func (f *fixture) wantNotParked(ref approval.Ref) {
	f.Helper()
	if got, err := f.Store.Parked(f.Context(), ref); !errors.Is(err, approval.ErrNotFound) || got != nil {
		f.Errorf("Parked: %q, error %v; want ErrNotFound", got, err)
	}
}

// unpark forgets what is parked, if there is something.
func (f *fixture) unpark(ref approval.Ref, there bool) {
	f.Helper()
	err := f.Store.Unpark(f.Context(), ref)
	if there && err != nil || !there && !errors.Is(err, approval.ErrNotFound) {
		f.Errorf("Unpark: %v; there is something: %t", err, there)
	}
}

func testPark(f *fixture) {
	ref := f.inState(approval.Pending)
	before := f.get(ref)
	f.wantNotParked(ref)
	for _, body := range []string{"first", "second", "second"} {
		f.park(ref, []byte(body))
		if got := f.parked(ref); string(got) != body {
			f.Errorf("parked %q; want %q", got, body)
		}
	}
	f.unpark(renamed(ref), false)
	if got := f.parked(ref); string(got) != "second" {
		f.Errorf("parked %q after an Unpark of another ID", got)
	}
	f.unpark(ref, true)
	f.wantNotParked(ref)
	f.unpark(ref, false)
	f.wantRecord(f.get(ref), before)
}

func testParkAbsent(f *fixture) {
	ref := f.inState(approval.Pending)
	for name, other := range map[string]approval.Ref{"no record": newRef(), "other ID": renamed(ref)} {
		if err := f.Store.Park(f.Context(), other, []byte("body")); !errors.Is(err, approval.ErrNotFound) {
			f.Errorf("%s: Park: error %v; want ErrNotFound", name, err)
		}
		f.wantNotParked(other)
		f.unpark(other, false)
	}
	f.wantNotParked(ref)
	f.park(ref, []byte("body"))
	f.wantNotParked(renamed(ref))
}

func testParkReplaced(f *fixture) {
	ref := f.inState(approval.Denied)
	f.park(ref, []byte("body"))
	next := renamed(ref)
	f.createNew(approval.New{Ref: next, Replace: ref.ID, Lasts: f.long(), Keep: f.long()})
	f.wantNotParked(ref)
	f.wantNotParked(next)
}

func testParkProlonged(f *fixture) {
	ref := newRef()
	f.createNew(approval.New{Ref: ref, Lasts: f.short(), Keep: 0})
	f.park(ref, []byte("body"))
	f.event(ref, approval.EventStarted)
	f.lapse()
	if got := f.parked(ref); string(got) != "body" {
		f.Errorf("parked %q", got)
	}
	f.event(ref, approval.EventApprove)
	f.change(approval.Change{Ref: ref, Event: approval.EventSpend, Keep: f.long()})
	if got := f.parked(ref); string(got) != "body" {
		f.Errorf("parked %q after the record has ended", got)
	}
}

func testParkGone(f *fixture) {
	// Parked while the record has long to live, which then becomes short.
	ref := f.inState(approval.Pending)
	f.park(ref, []byte("body"))
	f.change(approval.Change{Ref: ref, Event: approval.EventDeny, Keep: f.short()})
	f.lapse()
	f.wantGone(ref)
	f.wantNotParked(ref)
	f.create(ref)
	f.wantNotParked(ref)

	// Parked on a record whose life is short already.
	ref = newRef()
	f.createNew(approval.New{Ref: ref, Lasts: f.short(), Keep: 0})
	f.park(ref, []byte("body"))
	f.lapse()
	f.wantNotParked(ref)
	f.create(ref)
	f.wantNotParked(ref)
}

func testParkLarge(f *fixture) {
	ref := f.inState(approval.Pending)
	body := bytes.Repeat(everyByte(), 1<<20/256)
	f.park(ref, body)
	if got := f.parked(ref); !bytes.Equal(got, body) {
		f.Errorf("%d bytes came back changed, as %d", len(body), len(got))
	}
}
