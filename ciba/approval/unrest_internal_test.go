package approval

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var unrestIntervals = []time.Duration{time.Second, 5 * time.Second, 12 * time.Second, time.Minute}

// due is an approval that is due: it is polled if it may be.
func (u *unrest) due(interval time.Duration) time.Duration {
	wait := u.wait(interval)
	if wait <= 0 {
		u.polls(interval)
	}
	return wait
}

// However long the store was away, it may be another one that is back.
func TestUnrest_pausesAfterAnOutageOfAnyLength(t *testing.T) {
	t.Parallel()
	for _, interval := range unrestIntervals {
		pause := max(interval, settleTime)
		for away := 100 * time.Millisecond; away < 5*pause; away += away/20 + 100*time.Millisecond {
			for _, putOff := range []bool{true, false} {
				synctest.Test(t, func(t *testing.T) {
					var u unrest
					time.Sleep(time.Hour)
					u.note()
					if wait := u.wait(interval); putOff && wait != pause {
						t.Errorf("interval %v: it waits %v, want %v", interval, wait, pause)
					}
					time.Sleep(away)
					u.note()
					if wait := u.due(interval); wait != pause {
						t.Errorf("interval %v, away for %v: it waits %v, want %v", interval, away, wait, pause)
					}
					time.Sleep(pause)
					if wait := u.due(interval); wait > 0 {
						t.Errorf("interval %v, away for %v: it waits %v more", interval, away, wait)
					}
				})
			}
		}
	}
}

func TestUnrest_pausesAfterNewTrouble(t *testing.T) {
	t.Parallel()
	const interval = 5 * time.Second
	type act struct {
		at time.Duration
		do func(*unrest)
	}
	at := func(seconds float64, do func(*unrest)) act {
		return act{time.Duration(seconds * float64(time.Second)), do}
	}
	due := func(u *unrest) { u.due(interval) }
	for name, acts := range map[string][]act{
		"where something was polled a moment ago": {at(0, (*unrest).note), at(0.1, due), at(4, (*unrest).note), at(5, due),
			at(8, (*unrest).note), at(9, due), at(13, due), at(13.1, (*unrest).note)},
		"where all was polled elsewhere": {at(0, (*unrest).note), at(0.1, due), at(5.5, (*unrest).note), at(11.6, (*unrest).note)},
		"of two kinds":                   {at(0, (*unrest).note), at(0.1, due), at(1, (*unrest).note), at(5.9, (*unrest).note), at(11, (*unrest).note)},
		"where nothing was put off": {at(0, (*unrest).note), at(3, (*unrest).note), at(6, (*unrest).note),
			at(9, (*unrest).note), at(12, (*unrest).note)},
		"that is noticed twice, and waited out elsewhere": {at(0, (*unrest).note), at(0.1, due), at(2.6, (*unrest).note),
			at(7.55, due), at(13.5, (*unrest).note)},
		"a day after the last":    {at(0, (*unrest).note), at(0.1, due), at(86400, (*unrest).doubt), at(86400.1, due), at(86401, (*unrest).note)},
		"that was doubtful first": {at(0, due), at(1, (*unrest).doubt), at(1.1, due), at(2, (*unrest).note)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var u unrest
				began := time.Now()
				for _, a := range acts {
					time.Sleep(time.Until(began.Add(a.at)))
					a.do(&u)
				}
				if wait := u.due(interval); wait != interval {
					t.Errorf("it waits %v, want %v", wait, interval)
				}
			})
		})
	}
}

// Whoever can disturb the store must not keep answers from being collected.
func TestUnrest_putsNothingOffForGood(t *testing.T) {
	t.Parallel()
	for end, ends := range map[string]func(*unrest){"real": (*unrest).note, "none": (*unrest).trust} {
		for _, interval := range unrestIntervals {
			for gap := 100 * time.Millisecond; gap < 2*time.Minute; gap += gap/20 + 100*time.Millisecond {
				for _, doubtful := range []time.Duration{0, gap / 5, gap / 2, gap * 9 / 10} {
					synctest.Test(t, func(t *testing.T) {
						var u unrest
						var troubled sync.WaitGroup
						defer troubled.Wait()
						troubled.Go(func() {
							for range 10 * time.Minute / gap {
								time.Sleep(gap - doubtful)
								u.doubt()
								time.Sleep(doubtful)
								ends(&u)
							}
						})
						if worst := longestWithoutPoll(&u, interval); worst > 0 {
							t.Errorf("interval %v, %s trouble every %v, doubtful for %v: nothing was polled for %v", interval, end, gap, doubtful, worst)
						}
					})
				}
			}
		}
	}
}

// longestWithoutPoll looks for ten minutes at how long nothing is polled, and
// returns the longest time if that was too long.
func longestWithoutPoll(u *unrest, interval time.Duration) time.Duration {
	const step = 700 * time.Millisecond // so late is it polled at most
	polled := time.Now()
	var worst time.Duration
	for range 10 * time.Minute / step {
		time.Sleep(step)
		if u.due(interval) <= 0 {
			polled = time.Now()
		}
		worst = max(worst, time.Since(polled))
	}
	if worst <= 3*max(interval, settleTime)+calmTime+step {
		return 0
	}
	return worst
}

// What is due is not claimed at that very moment.
func TestUnrest_putsNothingOffForGoodThatIsLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var u unrest
		wait := time.Second
		for range 5 {
			u.note()
			time.Sleep(100 * time.Millisecond)
			wait = u.due(5 * time.Second)
			time.Sleep(5*time.Second + 100*time.Millisecond)
		}
		if wait > 0 {
			t.Errorf("after 20 s it waits %v", wait)
		}
	})
}

// A store that is up for less than a pause at a time lets answers through.
func TestUnrest_letsAnswersThroughACrashLoop(t *testing.T) {
	t.Parallel()
	const interval, step = 5 * time.Second, 10 * time.Millisecond
	for up := 500 * time.Millisecond; up < 7*time.Second; up += 100 * time.Millisecond {
		for down := 100 * time.Millisecond; down < up; down += 100 * time.Millisecond {
			synctest.Test(t, func(t *testing.T) {
				var u unrest
				polled := time.Now()
				due := polled
				for time.Since(polled) < 5*time.Minute {
					u.note() // up
					for end := time.Now().Add(up); time.Now().Before(end); time.Sleep(step) {
						if time.Now().Before(due) {
							continue
						}
						wait := u.due(interval)
						if wait <= 0 {
							return
						}
						due = time.Now().Add(wait)
					}
					u.note() // down
					time.Sleep(down)
				}
				t.Errorf("up for %v, down for %v: nothing was polled for %v", up, down, time.Since(polled))
			})
		}
	}
}
