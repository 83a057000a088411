package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// table is one of Markdown. Its first row is the heading.
type table [][]string

// String lays the table out so that it can also be read as it is.
func (t table) String() string {
	width := make([]int, len(t[0]))
	for _, row := range t {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for n, row := range t {
		for i, cell := range row {
			b.WriteString("| " + cell + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)) + " ")
		}
		b.WriteString("|\n")
		if n > 0 {
			continue
		}
		for _, w := range width {
			b.WriteString("|" + strings.Repeat("-", w+2))
		}
		b.WriteString("|\n")
	}
	return b.String()
}

// verdict says whether a target is met.
func verdict(met bool) string {
	if met {
		return "met"
	}
	return "**missed**"
}

func inMicros(d time.Duration) string {
	return fmt.Sprintf("%.1f µs", float64(d)/float64(time.Microsecond))
}

func inMillis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

func inSeconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func inBytes(n float64) string { return fmt.Sprintf("%.0f B", n) }

func inKiB(n float64) string { return fmt.Sprintf("%.1f KiB", n/1024) }

func inCores(n float64) string { return fmt.Sprintf("%.2f cores", n) }

func number(n float64) string { return fmt.Sprintf("%.0f", n) }

// inCases tells a middle, a bad and the worst case.
func inCases(d []time.Duration) string {
	return fmt.Sprintf("%s / %s / %s", inMillis(median(d)), inMillis(quantile(d, 0.99)), inMillis(quantile(d, 1)))
}
