package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTable_isAlignedMarkdown(t *testing.T) {
	got := table{
		{"", "CPU", "target"},
		{"plain", inMicros(123450 * time.Nanosecond), ""},
		{"late", inMillis(1500 * time.Microsecond), "≤ 2"},
	}.String()
	want := `|       | CPU      | target |
|-------|----------|--------|
| plain | 123.5 µs |        |
| late  | 1.5 ms   | ≤ 2    |
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestInCases(t *testing.T) {
	got := inCases([]time.Duration{3 * time.Millisecond, time.Millisecond, 2 * time.Millisecond})
	if want := "2.0 ms / 3.0 ms / 3.0 ms"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
