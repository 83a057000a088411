package approval

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestSpent_forgetsNothingThatCouldBeTakenForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s spent
		if !s.use("first", "a") || !s.use("first", "a") {
			t.Fatal("the use itself is refused")
		}
		for i := range 10 {
			time.Sleep(spentTime / 10)
			s.use(fmt.Sprint("later ", i), "b")
		}
		if s.use("first", "c") {
			t.Errorf("forgotten after %s", spentTime)
		}
		for range 3 {
			time.Sleep(spentTime + time.Second)
			s.use(fmt.Sprint("much later ", time.Now()), "b")
		}
		if len(s.newer)+len(s.older) > 2 {
			t.Errorf("%d are remembered although they cannot come back", len(s.newer)+len(s.older))
		}
	})
}

func TestSpent_hasBounds(t *testing.T) {
	var s spent
	for i := range 3 * spentSize {
		s.use(fmt.Sprint(i), "a")
	}
	if n := len(s.newer) + len(s.older); n > 2*spentSize {
		t.Errorf("%d are remembered, want %d at most", n, 2*spentSize)
	}
	if s.use(fmt.Sprint(3*spentSize-1), "b") {
		t.Error("the newest is forgotten")
	}
}
