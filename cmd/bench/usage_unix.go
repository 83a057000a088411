//go:build unix

package main

import (
	"fmt"
	"syscall"
	"time"
)

// processCPU is the time that this process has spent on a CPU, in user and in
// kernel mode.
func processCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("asking for the CPU time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
