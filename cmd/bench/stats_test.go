package main

import (
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 100 - i // in any order
	}
	for _, c := range []struct {
		values []int
		p      float64
		want   int
	}{
		{nil, 0.5, 0},
		{[]int{7}, 0, 7},
		{[]int{7}, 0.5, 7},
		{[]int{7}, 1, 7},
		{[]int{3, 1, 2}, 0.5, 2},
		{[]int{4, 1, 3, 2}, 0.5, 2},
		{[]int{5, 5, 5, 9}, 0.75, 5},
		{hundred, 0.25, 25},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 0.991, 100},
		{hundred, 1, 100},
	} {
		if got := quantile(c.values, c.p); got != c.want {
			t.Errorf("quantile(%d values, %v) is %d, want %d", len(c.values), c.p, got, c.want)
		}
	}
	if hundred[0] != 100 {
		t.Error("the values were put into another order")
	}
	if got := quantile([]time.Duration{time.Second, time.Minute}, 0.99); got != time.Minute {
		t.Errorf("quantile of durations is %v", got)
	}
}

func TestSpread(t *testing.T) {
	if got, want := spread([]float64{1.3, 1.0, 1.2, 1.1}), (quartiles{1.0, 1.1, 1.2}); got != want {
		t.Errorf("spread is %v, want %v", got, want)
	}
}

func TestShare_mayBeNegative(t *testing.T) {
	if got := share(100, 300, 4); got != -50 {
		t.Errorf("share is %v, want -50", got)
	}
}
