package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// newBench is one whose processes end with the test.
func newBench(t *testing.T, o options) (b *bench, printed *strings.Builder) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") == "true" || os.Getenv("REQUIRE_REDIS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	printed = new(strings.Builder)
	return &bench{options: o, out: printed, log: t.Output(), dir: t.TempDir()}, printed
}

// The figures are of no interest here. That every request was answered as it
// should be, measureLoad checks itself.
func TestMeasureLoad_comparesAll(t *testing.T) {
	b, printed := newBench(t, options{rounds: 1, requests: 4, concurrency: 2})
	if err := measureLoad(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for _, x := range loadSubjects() {
		if !strings.Contains(printed.String(), "| "+x.name+" ") {
			t.Errorf("%s is missing:\n%s", x.name, printed)
		}
	}
}

func TestCrowd_endsAsDecided(t *testing.T) {
	b, _ := newBench(t, options{})
	f, err := b.crowd(t.Context(), "test", 20, 2, time.Second, true, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if f.approved != 2 || f.refused != 18 || !f.passedOnce() || !f.allTurnedOff() || !f.noneOtherwise() {
		t.Errorf("of %d people, these passed: %s, these did not: %s, and otherwise: %s", f.people, f.passages(), f.refusals(), f.rest())
	}
	if f.punctual.polls == 0 || !f.punctual.inOrder() {
		t.Errorf("%d polls, early, overlapping, slowed down: %s", f.punctual.polls, f.punctual.disorder())
	}
}

func TestMeasureHeld_answersAll(t *testing.T) {
	b, printed := newBench(t, options{held: 20, interval: time.Second})
	if err := measureHeld(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(printed.String(), "| 2, 18, 0 ") {
		t.Errorf("not everybody was answered as they should be:\n%s", printed)
	}
}
