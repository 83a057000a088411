package main

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain makes the test binary a gateway where a test has started one.
func TestMain(m *testing.M) {
	if os.Getenv(asGateway) != "" {
		serveGateway()
		return
	}
	os.Exit(m.Run())
}

func TestParse_takesPartsAndFlags(t *testing.T) {
	alter := func(o options, change func(*options)) options {
		change(&o)
		return o
	}
	for line, want := range map[string]struct {
		options
		names []string
	}{
		"":                 {full, []string{}},
		"held answer":      {full, []string{"held", "answer"}},
		"-quick":           {quick, []string{}},
		"-rounds 20 load":  {alter(full, func(o *options) { o.rounds = 20 }), []string{"load"}},
		"-quick -held 7":   {alter(quick, func(o *options) { o.held = 7 }), []string{}},
		"-held 7 -quick":   {alter(quick, func(o *options) { o.held = 7 }), []string{}},
		"-interval 5s":     {alter(full, func(o *options) { o.interval = 5 * time.Second }), []string{}},
		"-profile pending": {alter(full, func(o *options) { o.profile = "pending" }), []string{}},
	} {
		got, names, err := parse(strings.Fields(line), io.Discard)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if diff := cmp.Diff(want.options, got, cmp.AllowUnexported(options{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", line, diff)
		}
		if diff := cmp.Diff(want.names, names); diff != "" {
			t.Errorf("%q (-want +got):\n%s", line, diff)
		}
	}
}

func TestParse_refusesWhatCannotBeMeasured(t *testing.T) {
	for _, line := range []string{"lod", "-rounds 0", "-held -1", "-interval 1500ms", "-interval 0s", "-quik", "-pending many"} {
		var told strings.Builder
		if _, _, err := parse(strings.Fields(line), &told); err == nil {
			t.Errorf("%q is accepted", line)
		}
		if !strings.Contains(told.String(), "usage:") {
			t.Errorf("%q: %q does not tell how to use the command", line, told.String())
		}
	}
}
