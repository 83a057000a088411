package main

import (
	"runtime"
	"testing"
)

func TestParseStatm(t *testing.T) {
	for text, want := range map[string]uint64{
		"310723 7811 4096 2941 0 22214 0\n": 7811,
		"310723":                            0,
		"":                                  0,
		"1 x 3":                             0,
	} {
		if got := parseStatm(text); got != want {
			t.Errorf("parseStatm(%q) is %d, want %d", text, got, want)
		}
	}
}

func TestProcessCPU_onlyGrows(t *testing.T) {
	before, err := processCPU()
	if err != nil {
		t.Skip(err)
	}
	if before <= 0 {
		t.Errorf("this process has spent %v", before)
	}
	// As much work as it takes, for the clock may be coarse.
	for after := before; after == before; {
		if after, err = processCPU(); err != nil || after < before {
			t.Fatalf("%v and then %v, error %v", before, after, err)
		}
	}
}

func TestMemory_isThere(t *testing.T) {
	var m Memory
	if err := new(Control).Memory(struct{}{}, &m); err != nil {
		t.Fatal(err)
	}
	if m.Heap == 0 || m.Stack == 0 || m.Goroutines == 0 || runtime.GOOS == "linux" && m.RSS < m.Heap {
		t.Errorf("this process holds %+v", m)
	}
}
