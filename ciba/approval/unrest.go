package approval

import (
	"sync"
	"time"
)

const (
	// settleTime is for how long after trouble with the store nothing is
	// polled, or an interval, where that is longer.
	settleTime = 4 * time.Second

	// unrestTime bounds how often trouble that comes again makes that longer:
	// answers must be collected in times of trouble as well.
	unrestTime = 10 * time.Second

	// calmTime is how long it is after that until more trouble is new trouble,
	// though there was nothing to poll.
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
	spells  map[time.Duration]*badSpell // by the pause that approvals need
	doubted time.Time                   // since when it is not known whether there is trouble; zero if it is
}

// badSpell is trouble that comes again and again, for approvals with one pause.
// Once one of them has been polled, more trouble is another spell.
type badSpell struct {
	begun  time.Time
	last   time.Time // note that polls wait for
	polled bool      // since then
}

// note says that there is trouble, or that it is over.
func (u *unrest) note() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.doubted = time.Time{}
	u.last = time.Now()
	for pause, s := range u.spells {
		switch {
		case s.polled, u.last.Sub(s.last) > pause+calmTime:
			*s = badSpell{begun: u.last, last: u.last}
		case u.last.Sub(s.begun) < unrestTime:
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

// wait is how long it is until an approval with this interval may be polled.
// Where it is not more than 0, it is polled now.
func (u *unrest) wait(interval time.Duration) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	pause := max(interval, settleTime)
	spell := u.spells[pause]
	if spell == nil {
		spell = &badSpell{begun: u.last, last: u.last}
		if u.spells == nil {
			u.spells = make(map[time.Duration]*badSpell)
		}
		u.spells[pause] = spell
	}
	wait := time.Until(spell.last.Add(pause))
	if !u.doubted.IsZero() {
		wait = max(wait, min(doubtTime, time.Until(u.doubted.Add(pause))))
	}
	spell.polled = spell.polled || wait <= 0
	return wait
}
