package main

import (
	"testing"
	"time"
)

// Whoever was let through without a yes, twice or not at all makes a verdict.
func TestCrowdFigures_noticeWhatWentWrong(t *testing.T) {
	good := crowdFigures{people: 10, approved: 1, refused: 9, collected: 10, passed: 1, turnedOff: 9, forwarded: 1}
	if !good.allCollected() || !good.passedOnce() || !good.allTurnedOff() || !good.noneOtherwise() {
		t.Errorf("all is well, but the figures say %s, %s, %s, %s", good.collection(), good.passages(), good.refusals(), good.rest())
	}
	for name, change := range map[string]func(*crowdFigures){
		"sent on twice":          func(f *crowdFigures) { f.forwarded = 2 },
		"not sent on":            func(f *crowdFigures) { f.forwarded = 0 },
		"answer was lost":        func(f *crowdFigures) { f.passed, f.forwarded, f.otherwise = 0, 0, 1 },
		"refusal was lost":       func(f *crowdFigures) { f.turnedOff, f.otherwise = 8, 1 },
		"passed without yes":     func(f *crowdFigures) { f.turnedOff, f.forwarded, f.otherwise = 8, 2, 1 },
		"answer was left there":  func(f *crowdFigures) { f.collected = 9 },
		"somebody was not asked": func(f *crowdFigures) { f.refused, f.turnedOff = 8, 8 },
	} {
		f := good
		change(&f)
		if f.allCollected() && f.passedOnce() && f.allTurnedOff() && f.noneOtherwise() {
			t.Errorf("%s: not noticed", name)
		}
	}
}

func TestCrowdFigures_shareResources(t *testing.T) {
	f := crowdFigures{
		people:   100,
		before:   resources{heap: 1000, redis: 5000},
		after:    resources{heap: 2000, redis: 6500},
		window:   2 * time.Second,
		spent:    resources{gatewayCPU: time.Second, redisCPU: 500 * time.Millisecond},
		punctual: punctuality{polls: 40},
	}
	for name, c := range map[string]struct{ got, want float64 }{
		"heap":     {f.heapEach(), 10},
		"redis":    {f.redisEach(), 15},
		"polls":    {f.pollsPerSecond(), 20},
		"gateways": {f.gatewayCores(), 0.5},
		"Redis":    {f.redisCores(), 0.25},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, want %v", name, c.got, c.want)
		}
	}
}
