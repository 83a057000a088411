package caddymodule_test

import (
	"net/http"
	"testing"
)

// What reviews have found: ways in which what ran was not what was shown, or
// what was sent.
func TestGate_runsNothingElse(t *testing.T) {
	w := newWorld(t)
	w.load(w.appOptions(), `step_up /note/* {
		user {http.request.header.Remote-User}
		text "Betal {http.request.header.X-Note} kr."
	}`)

	// On a route with remember, an approval is for many requests: the parked
	// form of one page must not go on in place of another's, nor twice.
	t.Run("a parked form goes on at its own page, once", func(t *testing.T) {
		p := w.person(t).keepCookies()
		a := p.browse(p.request("POST", "/remember/a", "amount=1", formType))
		b := p.browse(p.request("POST", "/remember/b", "amount=999", formType))
		if !a.has("continue") || b.has("continue") {
			t.Fatalf("the pages can go on: %t and %t, want the first only", a.has("continue"), b.has("continue"))
		}
		p.approve()
		a.goesOn()
		again := p.send(a.submit("continue"))
		if again.status == http.StatusOK {
			t.Error("a form went on a second time")
		}
		got := p.arrived()
		if len(got) != 1 || got[0].uri != "/remember/a" || string(got[0].body) != "amount=1" {
			t.Errorf("the application saw %+v, want the form of the first page, once", got)
		}
	})

	// The control of one page, sent to another route, is nobody's wish there.
	t.Run("a parked form that comes back elsewhere starts nothing", func(t *testing.T) {
		p := w.person(t).keepCookies()
		a := p.browse(p.request("POST", "/auto/parked", "amount=1", formType))
		r := a.submit("continue")
		r.URL.Path = "/auto/elsewhere"
		refused(t, p.send(r), http.StatusForbidden, "none")
		if n := len(p.pushes()); n != 1 {
			t.Errorf("%d pushes, want 1", n)
		}
		p.untouched()
	})

	// The text is made from a header that is bound by nothing else.
	t.Run("a header that the text shows is bound", func(t *testing.T) {
		p := w.person(t)
		r := p.request("POST", "/note/x", "x", "X-Note: 1")
		p.approved(r)
		r.Header.Set("X-Note", "1000000")
		withheld(t, "another amount", p.send(p.mine(r, async)))
		p.untouched()
		r.Header.Set("X-Note", "1")
		passed(t, p.send(p.mine(r)))
	})

	// A proxy drops what Connection names.
	t.Run("a client takes no header away after the approval", func(t *testing.T) {
		p := w.person(t)
		r := p.request("POST", "/auto/connection", "amount=1&to=a", formType)
		p.approved(r)
		passed(t, p.send(p.mine(r, "Connection: close, Content-Type, Remote-User")))
		got := p.arrived()
		if len(got) != 1 || got[0].header.Get("Content-Type") != "application/x-www-form-urlencoded" || got[0].header.Get("Remote-User") == "" {
			t.Errorf("the application saw %+v", got)
		}
	})
}
