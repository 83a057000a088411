package caddymodule_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-stepup/stepup/caddymodule"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// busy checks that a request was refused because others take all the room.
func busy(t *testing.T, a answer) {
	t.Helper()
	refused(t, a, http.StatusServiceUnavailable, "busy")
	if a.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
}

// Whatever is taken must be given back: each round has the same room again.
const rounds = 3

func TestRoom_refusesWhatItCannotHoldBeforeAPhoneRings(t *testing.T) {
	w := prepareWorld(t, cibatest.Config{})
	w.load(w.appOptions("max_held 2"), "")
	for range rounds {
		first, second, third := w.person(t), w.person(t), w.person(t)
		waitFirst := first.sending(first.request("POST", "/auto/held", "1"))
		first.phone()
		// A program that asks for the state waits as well.
		r := second.request("POST", "/challenge/asked", "2")
		second.start(r)
		asked := second.sending(second.mine(r, "Step-Up-Status: 60"))
		eventually(t, "a full gate", func() bool { return caddymodule.Held() == 2 })
		busy(t, third.send(third.request("POST", "/auto/refused", "3")))
		third.pushed(0)
		third.reached("/auto/refused", 0)

		// What is answered at once needs no seat, and a question for the state
		// is answered at once.
		r = third.request("POST", "/challenge/x", "4")
		third.start(r)
		if got := third.send(third.mine(r, "Step-Up-Status: 60")).document(t).State; got != "pending" {
			t.Errorf("state %q, want pending", got)
		}
		third.deny()

		first.approve()
		passed(t, waitFirst())
		second.approve()
		if got := asked().document(t).State; got != "approved" {
			t.Errorf("state %q, want approved", got)
		}
	}
}

func TestRoom_refusesBodiesThatDoNotFit(t *testing.T) {
	w := prepareWorld(t, cibatest.Config{})
	w.load(w.appOptions("max_bodies 1MiB"), "")
	body := strings.Repeat("x", 600_000)
	for range rounds {
		first, second := w.person(t), w.person(t)
		wait := first.sending(first.request("POST", "/auto/held", body))
		first.phone()
		for _, chunked := range []bool{false, true} {
			r := second.request("POST", "/auto/refused", body)
			if chunked {
				r.ContentLength = -1
			}
			busy(t, second.send(r))
		}
		second.pushed(0)
		second.reached("/auto/refused", 0)
		first.approve()
		passed(t, wait())

		// What is parked takes room again when it goes on.
		second.keepCookies()
		page := second.browse(second.request("POST", "/auto/page", body, formType))
		second.approve()
		wait = first.sending(first.request("POST", "/auto/held", body))
		first.phone()
		busy(t, page.send(page.submit("continue")))
		first.approve()
		passed(t, wait())
		passed(t, page.goesOn())
	}
}

func TestRoom_leavesRoomForOthers(t *testing.T) {
	w := prepareWorld(t, cibatest.Config{})
	w.load(w.appOptions("max_bodies 32MiB", "max_held 160"), "")
	greedy, other := w.person(t), w.person(t)
	r := greedy.request("POST", "/challenge/asked", "1")
	greedy.start(r)
	var waits []func() answer
	for range 10 {
		waits = append(waits, greedy.sending(greedy.mine(r, "Step-Up-Status: 60")))
	}
	eventually(t, "as many as one person may have", func() bool { return caddymodule.Held() == 10 })
	if got := greedy.send(greedy.mine(r, "Step-Up-Status: 60")).document(t).State; got != "pending" {
		t.Errorf("state %q, want pending", got)
	}
	wait := other.sending(other.request("POST", "/auto/held", "2"))
	other.approve()
	passed(t, wait())
	greedy.approve()
	for _, wait := range waits {
		wait()
	}

	// Bodies that do not end.
	const most = 1<<20 - 1
	endless := func() (wait func() answer) {
		body, end := io.Pipe()
		t.Cleanup(func() { end.CloseWithError(io.ErrUnexpectedEOF) })
		r := greedy.request("POST", "/auto/slow", "")
		r.Body, r.ContentLength, r.GetBody = body, -1, nil
		go end.Write(make([]byte, most))
		return greedy.sending(r)
	}
	endless()
	endless()
	eventually(t, "as many bytes as one person may have", func() bool { return caddymodule.Bodies() == 2*most })
	busy(t, endless()())
	wait = other.sending(other.request("POST", "/auto/held", strings.Repeat("x", most)))
	other.approve()
	passed(t, wait())
}
