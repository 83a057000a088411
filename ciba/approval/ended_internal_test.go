package approval

import (
	"fmt"
	"testing"
	"time"
)

func TestEnded_hasBounds(t *testing.T) {
	var e ended
	if !e.end("first", "a") || !e.end("first", "a") || e.end("first", "b") {
		t.Fatal("what has ended can end again")
	}
	for i := range endedSize {
		if !e.end(fmt.Sprint(i), "a") {
			t.Fatalf("%d: had not ended", i)
		}
	}
	if !e.has("first") || e.end("first", "b") {
		t.Errorf("the first is forgotten after %d others", endedSize)
	}
	for i := range 3 * endedSize {
		e.end(fmt.Sprint("later ", i), "a")
	}
	if n := len(e.newer) + len(e.older); n > 2*endedSize {
		t.Errorf("%d are remembered, want %d at most", n, 2*endedSize)
	}
	if e.has("first") {
		t.Error("the first is remembered for ever")
	}
}

// The news of an end may come between the reading of a record and the keeping
// of it.
func TestMemory_keepsNothingThatHasEnded(t *testing.T) {
	var m memory
	var e ended
	m.hear(true)
	at, until := memoryPlace{}, time.Now().Add(time.Hour)
	for _, ends := range []bool{false, true} {
		m.read()
		if ends {
			e.end("id", "op")
			m.forget("id")
		}
		m.learn(at, Grant{ApprovalID: "id"}, until, &e)
		if _, known := m.recall(at); known == ends {
			t.Errorf("ended: %t, known: %t", ends, known)
		}
	}
}
