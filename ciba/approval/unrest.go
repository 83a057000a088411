package approval

import (
	"sync"
	"time"
)

const (
	// settleTime is for how long after trouble with the store nothing is
	// polled, or an interval, where that is longer.
	settleTime = 4 * time.Second

	// calmTime is within which an approval that was put off is claimed, once it
	// is due.
	calmTime = time.Second

	// doubtTime is for how long an approval is put off, again and again, while it
	// is not known whether there is trouble.
	doubtTime = time.Second
)

// unrest is trouble with the store, which began or was over a moment ago. The
// store may have gone back in time, and know less of the last polls than was
// true; and an engine that could not store an answer is to come first. So nothing
// is polled for a pause after it, nor while it is not known whether there is any.
// Answers must be collected as well, though: trouble that comes again and again
// puts nothing off any more when three pauses and calmTime have gone by. The zero
// value is calm.
type unrest struct {
	mu      sync.Mutex
	noted   time.Time                   // when trouble began or was over, last
	doubted time.Time                   // when doubt began; zero when it has turned out to be none
	stirred time.Time                   // the last of both
	spells  map[time.Duration]*badSpell // that have put something off, by its pause
}

// badSpell is trouble that counts as one, for approvals with one pause. What
// comes next is a spell of its own if something was polled meanwhile, or if it was
// quiet for a pause and calmTime: by then, what was put off has been polled here or
// elsewhere, or else the store was away for so long that another one may be back.
type badSpell struct {
	begun  time.Time
	polled bool
}

// note says that there is trouble, or that it is over.
func (u *unrest) note() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.noted = u.stir()
}

// doubt says that there may be trouble.
func (u *unrest) doubt() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.doubted = u.stir()
}

// trust says that there was none.
func (u *unrest) trust() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.doubted = time.Time{}
}

// stir forgets the spells that what happens now is no part of, and returns the
// time. The caller holds the lock.
func (u *unrest) stir() time.Time {
	now := time.Now()
	for pause, s := range u.spells {
		if s.polled || now.Sub(u.stirred) > pause+calmTime {
			delete(u.spells, pause)
		}
	}
	u.stirred = now
	return now
}

// wait is how long an approval with this interval is to be put off, if more than
// 0, and takes down that it is.
func (u *unrest) wait(interval time.Duration) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	pause := pauseOf(interval)
	wait := max(time.Until(u.noted.Add(pause)), min(doubtTime, time.Until(u.doubted.Add(pause))))
	if wait <= 0 {
		return 0
	}
	s := u.spells[pause]
	if s == nil {
		if u.spells == nil {
			u.spells = make(map[time.Duration]*badSpell)
		}
		s = &badSpell{begun: u.stirred}
		u.spells[pause] = s
	}
	return min(wait, time.Until(s.begun.Add(3*pause+calmTime)))
}

// polls says that an approval with this interval is polled now.
func (u *unrest) polls(interval time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if s := u.spells[pauseOf(interval)]; s != nil {
		s.polled = true
	}
}

func pauseOf(interval time.Duration) time.Duration { return max(interval, settleTime) }
