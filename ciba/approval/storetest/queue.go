package storetest

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

var queueTests = []test{
	{"Claim of an empty queue says so", testQueueEmpty},
	{"Claim takes nothing before it is due", testNotBeforeDue},
	{"Claim takes what is due first, at most limit", testDueOrder},
	{"a lease keeps others away", testLease},
	{"a lapsed lease is given to the next, and is of no more use", testLeaseLapsed},
	{"Claim of none takes none", testClaimNone},
	{"Extend renews a lease", testExtend},
	{"Extend gives back to the queue", testGiveBack},
	{"Extend may be repeated", testExtendAgain},
	{"Drop takes out of the queue and may be repeated", testDrop},
	{"Schedule moves what is in the queue", testReschedule},
	{"Schedule takes a lease away", testScheduleLeased},
	{"approvals with different IDs wait separately", testQueueIDs},
	{"8 claimers take 1000 approvals once each", testClaimRace},
}

// schedule puts an approval into the queue.
func (f *fixture) schedule(ref approval.Ref, after time.Duration) {
	f.Helper()
	if err := f.Store.Schedule(f.Context(), ref, after); err != nil {
		f.Fatalf("Schedule: %v", err)
	}
}

// claimFor claims under leases of a given length.
func (f *fixture) claimFor(limit int, lease time.Duration) ([]approval.Lease, time.Duration) {
	f.Helper()
	leases, next, err := f.Store.Claim(f.Context(), limit, lease)
	if err != nil {
		f.Fatalf("Claim: %v", err)
	}
	return leases, next
}

// claim claims for long and must get exactly one lease.
func (f *fixture) claim(limit int) approval.Lease {
	f.Helper()
	leases, _ := f.claimFor(limit, f.long())
	if len(leases) != 1 {
		f.Fatalf("Claim took %d; want 1", len(leases))
	}
	return leases[0]
}

// wantNone fails if there is anything to claim, and returns how long it is
// until there is.
func (f *fixture) wantNone() time.Duration {
	f.Helper()
	leases, next := f.claimFor(10, f.long())
	if len(leases) != 0 {
		f.Errorf("Claim took %d; want none", len(leases))
	}
	return next
}

// wantNext compares how long it is until the next approval is due.
func (f *fixture) wantNext(next, want time.Duration) {
	f.Helper()
	if next <= 0 || next > want || (f.Exact && next != want) {
		f.Errorf("the next is due in %v; want %v", next, want)
	}
}

// extend extends a lease that must be good.
func (f *fixture) extend(l approval.Lease, after time.Duration) approval.Lease {
	f.Helper()
	extended, err := f.Store.Extend(f.Context(), l, after)
	if err != nil {
		f.Fatalf("Extend: %v", err)
	}
	if extended.Ref != l.Ref {
		f.Error("Extend returned the lease of another approval")
	}
	return extended
}

// wantLost fails if a lease can be extended.
func (f *fixture) wantLost(l approval.Lease) {
	f.Helper()
	if _, err := f.Store.Extend(f.Context(), l, f.long()); !errors.Is(err, approval.ErrLeaseLost) {
		f.Errorf("Extend: error %v; want ErrLeaseLost", err)
	}
}

// drop gives up a lease.
func (f *fixture) drop(l approval.Lease) {
	f.Helper()
	if err := f.Store.Drop(f.Context(), l); err != nil {
		f.Errorf("Drop: %v", err)
	}
}

func testQueueEmpty(f *fixture) {
	if next := f.wantNone(); next >= 0 {
		f.Errorf("the next is due in %v; want a negative duration", next)
	}
	ref := newRef()
	f.schedule(ref, 0)
	f.drop(f.claim(1))
	if next := f.wantNone(); next >= 0 {
		f.Errorf("the next is due in %v; want a negative duration", next)
	}
}

func testNotBeforeDue(f *fixture) {
	soon, late := newRef(), newRef()
	f.schedule(late, f.long())
	f.wantNext(f.wantNone(), f.long())
	f.schedule(soon, f.short())
	if f.Exact {
		f.wantNext(f.wantNone(), f.short())
		f.Advance(f.short() - f.Tick)
		f.wantNext(f.wantNone(), f.Tick)
	}
	f.lapse()
	if l := f.claim(10); l.Ref != soon {
		f.Error("Claim took what was not due")
	}
}

func testDueOrder(f *fixture) {
	// One after the other also where the calls take time, and more of them
	// than a store is likely to have parts.
	refs := make([]approval.Ref, 40)
	for i := range refs {
		refs[i] = newRef()
		f.schedule(refs[i], time.Duration(i)*f.Tick/8)
	}
	f.lapse()
	var got []approval.Ref
	for _, want := range []struct {
		taken int
		more  bool
	}{{0, true}, {1, true}, {19, true}, {20, false}} {
		leases, next := f.claimFor(want.taken, f.long())
		if len(leases) != want.taken {
			f.Errorf("Claim took %d; want %d", len(leases), want.taken)
		}
		if want.more && next != 0 {
			f.Errorf("the next is due in %v; want 0", next)
		}
		if !want.more {
			f.wantNext(next, f.long())
		}
		for _, l := range leases {
			got = append(got, l.Ref)
		}
	}
	if !slices.Equal(got, refs) {
		f.Error("Claim did not take what was due first")
	}
}

func testLease(f *fixture) {
	ref := newRef()
	f.schedule(ref, 0)
	if l := f.claim(1); l.Ref != ref {
		f.Error("Claim took another approval")
	}
	f.wantNext(f.wantNone(), f.long())
	leases, _, err := f.Other.Claim(f.Context(), 1, f.long())
	if len(leases) != 0 || err != nil {
		f.Errorf("the other handle's Claim took %d, error %v", len(leases), err)
	}
}

func testLeaseLapsed(f *fixture) {
	ref := newRef()
	f.schedule(ref, 0)
	leases, next := f.claimFor(1, f.short())
	if len(leases) != 1 {
		f.Fatalf("Claim took %d; want 1", len(leases))
	}
	stale := leases[0]
	f.wantNext(next, f.short())
	f.lapse()
	fresh := f.claim(1)
	if fresh.Ref != ref || fresh.Token == stale.Token {
		f.Error("the second lease is not told from the first")
	}
	f.wantLost(stale)
	f.drop(stale)
	f.wantNext(f.wantNone(), f.long())
	f.extend(fresh, f.long())
}

// Claim of none tells what Claim tells, and leaves it to others.
func testClaimNone(f *fixture) {
	if leases, next := f.claimFor(0, f.long()); len(leases) != 0 || next >= 0 {
		f.Errorf("Claim took %d of an empty queue, and the next is due in %v", len(leases), next)
	}
	f.schedule(newRef(), 0)
	if leases, next := f.claimFor(0, f.long()); len(leases) != 0 || next != 0 {
		f.Errorf("Claim took %d, and the next is due in %v; want none, and now", len(leases), next)
	}
	f.claim(1)
}

func testExtend(f *fixture) {
	f.schedule(newRef(), 0)
	leases, _ := f.claimFor(1, f.short())
	if len(leases) != 1 {
		f.Fatalf("Claim took %d; want 1", len(leases))
	}
	l := f.extend(leases[0], f.long())
	f.lapse()
	f.wantNone()
	l = f.extend(l, f.short())
	f.lapse()
	f.claim(1)
	f.wantLost(l)
}

func testGiveBack(f *fixture) {
	ref := newRef()
	f.schedule(ref, 0)
	mine := f.extend(f.claim(1), 0)
	if l := f.claim(1); l.Ref != ref {
		f.Error("Claim took another approval")
	}
	f.wantLost(mine)
}

// A lost answer to Extend must not look like a lost lease: the holder would
// give up what nobody else has.
func testExtendAgain(f *fixture) {
	f.schedule(newRef(), 0)
	l := f.claim(1)
	first := f.extend(l, f.long())
	second := f.extend(l, f.long())
	if first != second {
		f.Error("a repetition led to another lease")
	}
	f.wantNone()
	f.extend(first, f.long())
}

func testDrop(f *fixture) {
	ref := newRef()
	f.schedule(ref, 0)
	l := f.claim(1)
	f.drop(l)
	f.drop(l)
	f.wantLost(l)
	if next := f.wantNone(); next >= 0 {
		f.Errorf("the next is due in %v; want a negative duration", next)
	}
	// It may come back, and then the old lease is nothing.
	f.schedule(ref, 0)
	f.drop(l)
	f.wantLost(l)
	if fresh := f.claim(1); fresh.Token == l.Token {
		f.Error("the token of a dropped lease was given out again")
	}
}

func testReschedule(f *fixture) {
	ref := newRef()
	f.schedule(ref, 0)
	f.schedule(ref, f.long())
	f.wantNext(f.wantNone(), f.long())
	f.schedule(ref, 0)
	f.claim(10)
}

func testScheduleLeased(f *fixture) {
	f.schedule(newRef(), 0)
	l := f.claim(1)
	f.schedule(l.Ref, 0)
	f.wantLost(l)
	f.drop(l)
	if fresh := f.claim(1); fresh.Ref != l.Ref || fresh.Token == l.Token {
		f.Error("the second lease is not told from the first")
	}
	f.wantLost(l)
}

func testQueueIDs(f *fixture) {
	one := newRef()
	two := renamed(one)
	f.schedule(one, 0)
	f.schedule(two, 0)
	leases, _ := f.claimFor(10, f.long())
	if len(leases) != 2 {
		f.Fatalf("Claim took %d; want 2", len(leases))
	}
	f.drop(leases[0])
	f.extend(leases[1], 0)
	if l := f.claim(10); l.Ref != leases[1].Ref {
		f.Error("Drop took out another approval")
	}
}

func testClaimRace(f *fixture) {
	const items, claimers = 1000, 8
	var wg sync.WaitGroup
	for range claimers {
		wg.Go(func() {
			for range items / claimers {
				if err := f.Store.Schedule(f.Context(), newRef(), 0); err != nil {
					f.Errorf("Schedule: %v", err)
				}
			}
		})
	}
	wg.Wait()

	var mu sync.Mutex
	taken := make(map[approval.Ref]int)
	for i := range claimers {
		store := f.Store
		if i%2 == 1 {
			store = f.Other
		}
		wg.Go(func() {
			for {
				leases, next, err := store.Claim(f.Context(), 7, f.long())
				if err != nil {
					f.Errorf("Claim: %v", err)
					return
				}
				mu.Lock()
				for _, l := range leases {
					taken[l.Ref]++
				}
				mu.Unlock()
				if next != 0 {
					return
				}
			}
		})
	}
	wg.Wait()
	if len(taken) != items {
		f.Errorf("%d approvals were taken; want %d", len(taken), items)
	}
	for _, times := range taken {
		if times != 1 {
			f.Errorf("an approval was taken %d times", times)
		}
	}
}
