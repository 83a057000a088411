package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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
	b, printed := newBench(t, options{rounds: 1, requests: 4, concurrency: 2, profile: t.TempDir()})
	if err := measureLoad(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for _, x := range loadSubjects() {
		if !strings.Contains(printed.String(), "| "+x.name+" ") {
			t.Errorf("%s is missing:\n%s", x.name, printed)
		}
	}
	if _, err := os.Stat(filepath.Join(b.profile, "load-one-time-Redis-POST.cpu")); err != nil {
		t.Error(err)
	}
}

func TestMeasureTurn_countsEachRequestOnce(t *testing.T) {
	const requests = 4*slicesPerTurn + slicesPerTurn/2
	b, _ := newBench(t, options{requests: requests, concurrency: 2})
	s, err := newSite(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	x := &subject{name: "plain", method: http.MethodPost, path: "/transfers"}
	defer x.stop()
	if err := b.startSubject(t.Context(), s, x, 0); err != nil {
		t.Fatal(err)
	}
	before, err := x.cpu(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	costs, err := b.measureTurn(t.Context(), s, []*subject{x}, 0)
	if err != nil {
		t.Fatal(err)
	}
	after, err := x.cpu(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	arrived := 0
	for _, p := range x.people {
		arrived += len(s.upstream.arrivals(p.user))
	}
	if arrived != requests {
		t.Errorf("%d requests were sent, want %d", arrived, requests)
	}
	if all := after.gateway - before.gateway; costs[0].gateway <= 0 || requests*costs[0].gateway > all {
		t.Errorf("a request takes %v, when all take %v", costs[0].gateway, all)
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
