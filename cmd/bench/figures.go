package main

import (
	"fmt"
	"time"
)

// crowdFigures are what was measured of a crowd.
type crowdFigures struct {
	people   int
	starting time.Duration // how long it took all to ask

	before, after resources // of waiting
	window        time.Duration
	spent         resources   // in the window; CPU only
	punctual      punctuality // in the window

	unheard           time.Duration // the longest time between two signs of somebody
	ending            time.Duration // from the decisions to the last final answer
	approved, refused int           // what was decided
	collected         int           // final answers that the broker gave
	passed, turnedOff int           // who was answered so
	otherwise         int           // who was not answered as was decided
	forwarded         int           // what reached the application
}

// resources are what gateways and Redis use.
type resources struct {
	heap, redis          uint64        // bytes
	gatewayCPU, redisCPU time.Duration // CPU
}

// heapEach is how many bytes of Go heap an approval takes while it waits.
func (f crowdFigures) heapEach() float64 { return share(f.after.heap, f.before.heap, f.people) }

// redisEach is how many bytes of Redis it takes.
func (f crowdFigures) redisEach() float64 { return share(f.after.redis, f.before.redis, f.people) }

// pollsPerSecond is how many polls the broker got.
func (f crowdFigures) pollsPerSecond() float64 { return float64(f.punctual.polls) / f.window.Seconds() }

// gatewayCores is how many CPUs the gateways kept busy, redisCores how many
// Redis did.
func (f crowdFigures) gatewayCores() float64 {
	return f.spent.gatewayCPU.Seconds() / f.window.Seconds()
}
func (f crowdFigures) redisCores() float64 { return f.spent.redisCPU.Seconds() / f.window.Seconds() }

// allCollected says whether the gateways have collected every answer.
func (f crowdFigures) allCollected() bool { return f.collected == f.approved+f.refused }

// collection is the figure for that.
func (f crowdFigures) collection() string {
	return fmt.Sprintf("%d of %d", f.collected, f.approved+f.refused)
}

// passedOnce says whether all who said yes got through, each of them once, and
// nobody else.
func (f crowdFigures) passedOnce() bool { return f.passed == f.approved && f.forwarded == f.approved }

// allTurnedOff says whether all who said no were told so.
func (f crowdFigures) allTurnedOff() bool { return f.turnedOff == f.refused }

// noneOtherwise says whether everybody was asked, and answered as was decided.
func (f crowdFigures) noneOtherwise() bool {
	return f.otherwise == 0 && f.approved+f.refused == f.people
}

// passages, refusals and rest are the figures for the three above.
func (f crowdFigures) passages() string { return fmt.Sprintf("%d of %d", f.forwarded, f.approved) }
func (f crowdFigures) refusals() string { return fmt.Sprintf("%d of %d", f.turnedOff, f.refused) }
func (f crowdFigures) rest() string {
	return fmt.Sprint(f.otherwise + f.people - f.approved - f.refused)
}
