package approval_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// benchGranted is a remembered approval that was granted, which is what every
// request on such a route looks up.
func benchGranted(b *testing.B) (*approval.Engine, approval.Binding) {
	b.Helper()
	w := newWorld(b, func(c *cibatest.Config) { c.Interval = time.Second })
	e := w.engine()
	bound := binding(e)
	bound.Request = nil
	a, err := e.Begin(b.Context(), bound, "", func() (approval.Ask, error) {
		a, err := ask()
		a.Remember = time.Hour
		return a, err
	})
	if err != nil {
		b.Fatal(err)
	}
	w.approve()
	a, err = e.Wait(b.Context(), a, time.Minute)
	if err != nil || a.State != approval.Approved {
		b.Fatalf("%s, %v; want approved", a.State, err)
	}
	return e, bound
}

func BenchmarkFind(b *testing.B) {
	e, bound := benchGranted(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Find(b.Context(), bound); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUse(b *testing.B) {
	e, bound := benchGranted(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := e.Use(b.Context(), bound); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBegin joins an approval that is there, and starts new ones, broker
// included.
func BenchmarkBegin(b *testing.B) {
	b.Run("join", func(b *testing.B) {
		e, bound := benchGranted(b)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := e.Begin(b.Context(), bound, "", ask); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("start", func(b *testing.B) {
		e := newWorld(b).engine()
		bound := binding(e)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			bound.Policy = fmt.Sprint("policy ", i)
			if _, err := e.Begin(b.Context(), bound, "", ask); err != nil {
				b.Fatal(err)
			}
		}
	})
}
