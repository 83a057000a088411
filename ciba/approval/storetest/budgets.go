package storetest

import (
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

var budgetTests = []test{
	{"Take allows a burst and then refuses until there is one again", testTake},
	{"counters are separate", testCounters},
	{"concurrent Takes get no more than the burst", testTakeRace},
	{"Block makes Take refuse, twice as long each time", testBlock},
	{"Block forgets after its memory", testBlockForgets},
}

// newCounter is the name of a counter that nobody has used.
func newCounter() (c approval.Tag) {
	rand.Read(c[:])
	return c
}

// take takes from a budget and returns the wait.
func (f *fixture) take(counter approval.Tag, r approval.Rate) time.Duration {
	f.Helper()
	wait, err := f.Store.Take(f.Context(), counter, r)
	if err != nil {
		f.Fatalf("Take: %v", err)
	}
	return wait
}

// wantWait compares a wait with what it was at most, or exactly where the
// harness allows that. No wait is wanted where want is 0.
func (f *fixture) wantWait(got, want time.Duration) {
	f.Helper()
	if got > want || (want > 0 && got <= 0) || got < 0 || (f.Exact && got != want) {
		f.Errorf("wait %v; want %v", got, want)
	}
}

func testTake(f *fixture) {
	r := approval.Rate{Burst: 3, Per: f.short()}
	c := newCounter()
	for range 3 {
		f.wantWait(f.take(c, r), 0)
	}
	f.wantWait(f.take(c, r), f.short())
	f.wantWait(f.take(c, r), f.short()) // a refusal takes nothing
	f.lapse()
	f.wantWait(f.take(c, r), 0)
	if f.Exact {
		f.wantWait(f.take(c, r), f.short()-f.Tick)
		f.Advance(3 * f.short())
		for range 3 {
			f.wantWait(f.take(c, r), 0)
		}
		f.wantWait(f.take(c, r), f.short())
	}
}

func testCounters(f *fixture) {
	r := approval.Rate{Burst: 1, Per: f.long()}
	one, two := newCounter(), newCounter()
	f.wantWait(f.take(one, r), 0)
	f.block(one, approval.Penalty{First: f.long(), Longest: f.long(), Memory: f.long()})
	f.wantWait(f.take(two, r), 0)
	f.wantWait(f.take(two, r), f.long())
}

func testTakeRace(f *fixture) {
	c := newCounter()
	var taken atomic.Int32
	var wg sync.WaitGroup
	for i := range 50 {
		store := f.Store
		if i%2 == 1 {
			store = f.Other
		}
		wg.Go(func() {
			wait, err := store.Take(f.Context(), c, approval.Rate{Burst: 5, Per: f.long()})
			if err != nil {
				f.Errorf("Take: %v", err)
			} else if wait == 0 {
				taken.Add(1)
			}
		})
	}
	wg.Wait()
	if n := taken.Load(); n != 5 {
		f.Errorf("%d were taken; want 5", n)
	}
}

// block imposes a penalty.
func (f *fixture) block(counter approval.Tag, p approval.Penalty) {
	f.Helper()
	if err := f.Store.Block(f.Context(), counter, p); err != nil {
		f.Fatalf("Block: %v", err)
	}
}

func testBlock(f *fixture) {
	c := newCounter()
	r := approval.Rate{Burst: 100, Per: f.Tick}
	p := approval.Penalty{First: f.long(), Longest: 5 * f.long(), Memory: f.long()}
	for _, pause := range []time.Duration{f.long(), 2 * f.long(), 4 * f.long(), 5 * f.long(), 5 * f.long()} {
		f.block(c, p)
		wait := f.take(c, r)
		f.wantWait(wait, pause)
		if wait <= pause-f.long()/2 {
			f.Errorf("wait %v; want %v", wait, pause)
		}
	}

	// It ends, and what was used before it still counts.
	c = newCounter()
	f.wantWait(f.take(c, approval.Rate{Burst: 1, Per: f.long()}), 0)
	f.block(c, approval.Penalty{First: f.short(), Longest: f.short(), Memory: f.long()})
	f.lapse()
	f.wantWait(f.take(c, approval.Rate{Burst: 2, Per: f.long()}), 0)
	f.wantWait(f.take(c, approval.Rate{Burst: 2, Per: f.long()}), f.long()-f.short()-f.Tick)

	// A first pause that is longer than the longest is cut, too.
	c = newCounter()
	f.block(c, approval.Penalty{First: 3 * f.long(), Longest: f.long(), Memory: f.long()})
	f.wantWait(f.take(c, r), f.long())
}

func testBlockForgets(f *fixture) {
	r := approval.Rate{Burst: 9, Per: f.long()}
	forgets := approval.Penalty{First: f.Tick, Longest: f.long(), Memory: f.short() - f.Tick}
	remembers := approval.Penalty{First: f.Tick, Longest: f.long(), Memory: f.long()}
	one, two := newCounter(), newCounter()
	f.take(one, approval.Rate{Burst: 9, Per: f.long()}) // which is remembered for longer
	f.block(one, forgets)
	f.block(two, remembers)
	f.lapse()
	f.wantWait(f.take(one, r), 0)
	f.wantWait(f.take(two, r), 0)
	again := approval.Penalty{First: f.long(), Longest: 9 * f.long(), Memory: f.long()}
	f.block(one, again)
	f.block(two, again)
	f.wantWait(f.take(one, r), f.long())
	if wait := f.take(two, r); wait <= f.long() {
		f.Errorf("wait %v after a second Block; want more than the first pause", wait)
	}
}
