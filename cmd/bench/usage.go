package main

import (
	"os"
	"strconv"
	"strings"
)

// processRSS is how much of this process's memory is resident, in bytes, as
// Linux tells it; 0 elsewhere.
func processRSS() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	return parseStatm(string(b)) * uint64(os.Getpagesize())
}

// parseStatm reads the number of resident pages, the second number of the line;
// see proc_pid_statm(5).
func parseStatm(s string) uint64 {
	fields := strings.Fields(s)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages
}
