package approval

import (
	"sync"
	"time"
)

const (
	// settleTime is for how long after trouble with the store nothing is
	// polled, or an interval, where that is longer.
	settleTime = 4 * time.Second

	// calmTime is how much longer than a pause it must be quiet until trouble is
	// new trouble.
	calmTime = time.Second

	// doubtTime is for how long an approval is put off, again and again, while it
	// is not known whether there is trouble.
	doubtTime = time.Second
)

// unrest is trouble with the store, which began or was over a moment ago. The
// store may have gone back in time, and know less of the last polls than was
// true; and an engine that could not store an answer is to come first. The zero
// value is calm.
type unrest struct {
	mu      sync.Mutex
	last    time.Time                   // note
	spells  map[time.Duration]*badSpell // by the pause
	doubted time.Time                   // since when it is not known whether there is trouble; zero if it is
}

// badSpell is trouble for as long as it puts off approvals with one pause, and
// until one of them is polled. It bounds what trouble that comes again and again
// can do: answers must be collected then as well.
type badSpell struct {
	begun, last time.Time // notes that count
	putOff      time.Time // when an approval was, last
	polled      bool
}

// note says that there is trouble, or that it is over.
func (u *unrest) note() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.doubted = time.Time{}
	u.last = time.Now()
	for pause, s := range u.spells {
		switch {
		case s.polled, u.last.Sub(s.putOff) > pause+calmTime:
			// What was put off has had its turn, here or elsewhere.
			delete(u.spells, pause)
		case u.last.Sub(s.begun) <= 2*pause+calmTime:
			// A store that was away for longer is another spell when it is back,
			// unless it was there in between.
			s.last = u.last
		}
	}
}

// doubt says that there may be trouble: nothing is polled until there is none,
// or for as long as if there were.
func (u *unrest) doubt() { u.setDoubted(time.Now()) }

// trust says that there was none.
func (u *unrest) trust() { u.setDoubted(time.Time{}) }

func (u *unrest) setDoubted(since time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.doubted = since
}

// wait is how long it is until an approval with this interval may be polled, if
// more than 0; then it has been put off.
func (u *unrest) wait(interval time.Duration) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	pause := pauseOf(interval)
	last, spell := u.last, u.spells[pause]
	if spell != nil {
		last = spell.last
	}
	wait := time.Until(last.Add(pause))
	if wait > 0 && spell == nil {
		if u.spells == nil {
			u.spells = make(map[time.Duration]*badSpell)
		}
		spell = &badSpell{begun: last, last: last}
		u.spells[pause] = spell
	}
	if !u.doubted.IsZero() {
		wait = max(wait, min(doubtTime, time.Until(u.doubted.Add(pause))))
	}
	if wait > 0 && spell != nil {
		spell.putOff = time.Now()
	}
	return wait
}

// polls says that an approval with this interval is polled now.
func (u *unrest) polls(interval time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if spell := u.spells[pauseOf(interval)]; spell != nil {
		spell.polled = true
	}
}

func pauseOf(interval time.Duration) time.Duration { return max(interval, settleTime) }
