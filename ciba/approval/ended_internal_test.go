package approval

import (
	"fmt"
	"testing"
	"testing/synctest"
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
	m.hear(true, 0)
	at, until := Key{}, time.Now().Add(time.Hour)
	for _, ends := range []bool{false, true} {
		era := m.read()
		if ends {
			e.end("id", "op")
			m.forget("id")
		}
		m.learn(era, at, Grant{ApprovalID: "id"}, until, &e)
		if _, known := m.recall(at); known == ends {
			t.Errorf("ended: %t, known: %t", ends, known)
		}
	}
}

// There is always some record being read at a busy gateway.
func TestMemory_learnsAgainAfterTheFeedWasLostWhileOthersRead(t *testing.T) {
	var m memory
	var e ended
	at, until := Key{}, time.Now().Add(time.Hour)
	m.hear(true, 0)
	before := m.read()
	m.hear(false, 0)
	m.hear(true, 0)
	m.learn(before, at, Grant{ApprovalID: "old"}, until, &e)
	if _, known := m.recall(at); known {
		t.Error("known though it was read before the feed was lost")
	}
	m.learn(m.read(), at, Grant{ApprovalID: "new"}, until, &e)
	if _, known := m.recall(at); !known {
		t.Error("not known though it was read afterwards")
	}
}

func TestMemory_knowsNoLongerThanTheFeedCanBeTrusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m memory
		var e ended
		at := Key{}
		m.hear(true, 900*time.Millisecond)
		m.learn(m.read(), at, Grant{ApprovalID: "id"}, time.Now().Add(time.Hour), &e)
		time.Sleep(800 * time.Millisecond)
		if _, known := m.recall(at); !known {
			t.Error("forgotten before its time")
		}
		time.Sleep(100 * time.Millisecond)
		if _, known := m.recall(at); known {
			t.Error("known for longer than news can be relied on")
		}
	})
}
