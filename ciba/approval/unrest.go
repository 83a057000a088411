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

	// doubtTime is for how long an approval is put off, again and again, while it
	// is not known whether there is trouble.
	doubtTime = time.Second
)

// unrest is trouble with the store, which began or was over a moment ago. The
// store may have gone back in time, and know less of the last polls than was
// true; and an engine that could not store an answer is to come first. The zero
// value is calm.
type unrest struct {
	mu          sync.Mutex
	begun, last time.Time
	doubted     time.Time // since when it is not known; zero if it is
}

// note says that there is trouble, or that it is over.
func (u *unrest) note() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.doubted = time.Time{}
	now := time.Now()
	switch {
	case now.Sub(u.last) > settleTime:
		u.begun, u.last = now, now
	case now.Sub(u.begun) < unrestTime:
		u.last = now
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
func (u *unrest) wait(interval time.Duration) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	pause := max(interval, settleTime)
	var wait time.Duration
	if !u.last.IsZero() {
		wait = time.Until(u.last.Add(pause))
	}
	if !u.doubted.IsZero() {
		wait = max(wait, min(doubtTime, time.Until(u.doubted.Add(pause))))
	}
	return wait
}
