package approval

import (
	"sync"
	"time"
)

const (
	// settleTime is for how long after trouble with the store nothing is
	// polled, or an interval, where that is longer.
	settleTime = 4 * time.Second

	// calmTime is how late an approval that was put off may be claimed.
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

// badSpell is trouble that has put off approvals with one pause, until one of
// them is polled here, or it has been quiet for long enough. However often trouble
// comes again, it does not put them off for longer than three pauses and calmTime:
// answers must be collected then as well.
type badSpell struct {
	begun  time.Time // note
	last   time.Time // note that they wait for
	putOff time.Time // when one was, last
	polled bool
}

// note says that there is trouble, or that it is over.
func (u *unrest) note() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.doubted = time.Time{}
	now, before := time.Now(), u.last
	u.last = now
	for pause, s := range u.spells {
		if s.polled || s.isOver(now, before, pause) {
			delete(u.spells, pause)
			continue
		}
		s.last = now
		if end := s.begun.Add(2*pause + calmTime); s.last.After(end) {
			s.last = end
		}
	}
}

// isOver tells whether it has been quiet since the last note, whatever came of
// what was put off: it may have been polled elsewhere.
func (s *badSpell) isOver(now, noted time.Time, pause time.Duration) bool {
	return min(now.Sub(s.putOff), now.Sub(noted)) > pause+calmTime
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
	now, pause := time.Now(), pauseOf(interval)
	last, spell := u.last, u.spells[pause]
	switch {
	case spell == nil:
	case spell.isOver(now, u.last, pause):
		delete(u.spells, pause)
		spell = nil
	default:
		last = spell.last
	}
	wait := last.Add(pause).Sub(now)
	if wait > 0 && spell == nil {
		if u.spells == nil {
			u.spells = make(map[time.Duration]*badSpell)
		}
		spell = &badSpell{begun: last, last: last}
		u.spells[pause] = spell
	}
	if !u.doubted.IsZero() {
		wait = max(wait, min(doubtTime, u.doubted.Add(pause).Sub(now)))
	}
	if wait > 0 && spell != nil {
		spell.putOff = now
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
