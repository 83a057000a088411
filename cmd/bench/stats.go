package main

import (
	"cmp"
	"math"
	"slices"
)

// quantile is the least of the values that at least the share p of them does
// not exceed. It is the zero value where there are none.
func quantile[T cmp.Ordered](values []T, p float64) T {
	if len(values) == 0 {
		var none T
		return none
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// median is the middle of the values, the lower one of two.
func median[T cmp.Ordered](values []T) T { return quantile(values, 0.5) }

// quartiles show a middle and how far values lie around it.
type quartiles struct{ lower, median, upper float64 }

func spread(values []float64) quartiles {
	return quartiles{quantile(values, 0.25), median(values), quantile(values, 0.75)}
}

// share is what each of n has added.
func share(after, before uint64, n int) float64 {
	return (float64(after) - float64(before)) / float64(n)
}
