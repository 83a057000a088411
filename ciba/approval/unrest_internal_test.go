package approval

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// After trouble nothing is polled for a pause; and however often trouble comes,
// polls go on in the end.
func TestUnrest_putsPollsOffAndNotForGood(t *testing.T) {
	t.Parallel()
	const step = 100 * time.Millisecond
	for _, interval := range []time.Duration{time.Second, 5 * time.Second, 12 * time.Second, time.Minute} {
		for gap := step; gap < 2*time.Minute; gap += gap/4 + step {
			t.Run(fmt.Sprintf("interval %v, trouble every %v", interval, gap), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var u unrest
					pause := max(interval, settleTime)
					next := gap
					var polled, starved time.Duration // when, and for how long not
					for now := step; now < 10*time.Minute; now += step {
						time.Sleep(step)
						if now >= next {
							next += gap
							u.note()
							if wait := u.wait(interval); now-polled <= step && wait != pause {
								t.Fatalf("after trouble at %v it waits %v, want %v", now, wait, pause)
							}
						}
						starved += step
						if u.wait(interval) <= 0 {
							polled, starved = now, 0
						}
						if starved > unrestTime+pause+step {
							t.Fatalf("at %v nothing had been polled for %v", now, starved)
						}
					}
				})
			})
		}
	}
}
