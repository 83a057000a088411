package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// tally is how the acts of a site ended, without the probes of normal.
type tally struct {
	acts    int
	passed  int            // the client has the application's answer
	unheard int            // the application has the request, the client not its answer
	refused int            // the person said no
	lost    map[string]int // everything else, by the state that the client was told
	cut     int            // requests whose gateway died
}

// tallyOf counts.
func tallyOf(acts ...*act) tally {
	y := tally{acts: len(acts), lost: make(map[string]int)}
	for _, a := range acts {
		last := a.answered()
		a.mu.Lock()
		y.cut += a.cut
		a.mu.Unlock()
		switch {
		case last.passed():
			y.passed++
		case len(a.reached()) > 0:
			y.unheard++
		case last.state == "denied":
			y.refused++
		case last.status == 0:
			y.lost["unanswered"]++
		default:
			y.lost[last.state]++
		}
	}
	return y
}

func (y tally) String() string {
	lost := 0
	var states []string
	for _, state := range slices.Sorted(maps.Keys(y.lost)) {
		lost += y.lost[state]
		states = append(states, fmt.Sprintf("%d %s", y.lost[state], state))
	}
	s := fmt.Sprintf("%d asked, %d passed, %d refused, %d lost", y.acts, y.passed, y.refused, lost)
	if lost > 0 {
		s += " (" + strings.Join(states, ", ") + ")"
	}
	if y.unheard > 0 {
		s += fmt.Sprintf(", %d passed without the client hearing of it", y.unheard)
	}
	if y.cut > 0 {
		s += fmt.Sprintf(", %d connections cut", y.cut)
	}
	return s
}

// state logs the row of a fault for the table in docs/operations.md.
func (y tally) state(t testing.TB, fault string, normal time.Duration) {
	t.Helper()
	t.Logf("FAULT %s: %v; normal again after %v", fault, y, normal.Round(100*time.Millisecond))
}
