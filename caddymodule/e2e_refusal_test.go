package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"
)

func (w *world) testUnknown(t *testing.T) {
	var first string
	for name, user := range map[string]string{"nobody": "", "unknown": "stranger@example.dk", "long": strings.Repeat("x", 5000)} {
		p := w.person(t)
		r := p.request("POST", "/auto/unknown", "x")
		r.Header.Del("Remote-User")
		if user != "" {
			r.Header.Set("Remote-User", user)
			w.secret(user)
		}
		a := p.send(r)
		refused(t, a, http.StatusForbidden, "forbidden")
		if first == "" {
			first = a.body
		}
		if a.body != first {
			t.Errorf("%s: the body tells which users exist:\n%s\n%s", name, a.body, first)
		}
	}
	if got := len(w.upstream.arrivals("/auto/unknown")); got != 0 {
		t.Errorf("the application saw %d requests", got)
	}
}

func (w *world) testTooLarge(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		p := w.person(t)
		r := p.request("POST", "/small/x", strings.Repeat("x", 1001))
		if chunked {
			r.ContentLength = -1
		}
		refused(t, p.send(r), http.StatusRequestEntityTooLarge, "invalid")
		p.pushed(0)
		p.reached("/small/x", 0)
	}
	p := w.person(t)
	refused(t, p.send(p.request("POST", "/auto/x", strings.Repeat("x", 1<<20+1))), http.StatusRequestEntityTooLarge, "invalid")
	p.pushed(0)
	// At the bound, it is accepted.
	refused(t, p.send(p.request("POST", "/small/y", strings.Repeat("x", 1000), async)), http.StatusUnauthorized, "pending")
}

func (w *world) testUnshowable(t *testing.T) {
	for name, c := range map[string]struct{ path, contentType, body string }{
		"a missing field":    {"/form/a", "application/x-www-form-urlencoded", "amount=1"},
		"a field twice":      {"/form/a", "application/x-www-form-urlencoded", "amount=1&to=a&amount=1000"},
		"another type":       {"/form/a", "text/plain", "amount=1&to=a"},
		"no type":            {"/form/a", "", "amount=1&to=a"},
		"JSON for a form":    {"/form/a", "application/json", `{"amount":1,"to":"a"}`},
		"a line break":       {"/form/a", "application/x-www-form-urlencoded", "amount=1&to=a%0Ab"},
		"reversed direction": {"/form/a", "application/x-www-form-urlencoded", "amount=1&to=a%E2%80%AEb"},
		"a bad escape":       {"/form/a", "application/x-www-form-urlencoded", "amount=1&to=a%zz"},
		"a long text":        {"/form/a", "application/x-www-form-urlencoded", "amount=1&to=" + strings.Repeat("a", 130)},
		"a list":             {"/json/a", "application/json", `{"payment":{"amount":[1,2]}}`},
		"a key twice":        {"/json/a", "application/json", `{"payment":{"amount":1,"amount":2}}`},
		"JSON and more":      {"/json/a", "application/json", `{"payment":{"amount":1}} {}`},
		"a default too long": {"/auto/" + strings.Repeat("a", 150), "", ""},
	} {
		p := w.person(t)
		r := p.request("POST", c.path, c.body)
		if c.contentType != "" {
			r.Header.Set("Content-Type", c.contentType)
		}
		a := p.send(r)
		refused(t, a, http.StatusUnprocessableEntity, "invalid")
		if a.status == http.StatusUnprocessableEntity && a.document(t).Field == "" {
			t.Errorf("%s: the answer names no field: %s", name, a.body)
		}
		p.pushed(0)
		p.reached(c.path, 0)
	}
	// A client's value that looks like a placeholder is shown as it is.
	p := w.person(t)
	p.start(p.request("POST", "/form/literal", "amount=1&to=%7Benv.HOME%7D%7B%7D", formType))
	if q := p.phone(); !strings.HasPrefix(q.Text, "Betal 1 kr. til {env.HOME}{}") {
		t.Errorf("the phone shows %q", q.Text)
	}
}

func (w *world) testCrossSite(t *testing.T) {
	for name, header := range map[string][]string{
		"a browser says so":     {"Sec-Fetch-Site: cross-site"},
		"a sibling":             {"Sec-Fetch-Site: same-site"},
		"a navigation":          {"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", html5},
		"an old browser":        {"Origin: https://evil.example"},
		"a page without origin": {"Origin: null"},
	} {
		for _, method := range []string{"POST", "GET"} {
			p := w.person(t)
			a := p.send(p.request(method, "/auto/cross", "", header...))
			if a.status != http.StatusForbidden {
				t.Errorf("%s, %s: %d %s", name, method, a.status, a.header.Get("Step-Up-State"))
			}
			p.pushed(0)
			p.reached("/auto/cross", 0)
		}
	}
	// Nor does it use what was approved.
	p := w.person(t)
	r := p.request("POST", "/auto/cross2", "x")
	p.approved(r)
	if a := p.send(p.mine(r, "Sec-Fetch-Site: cross-site")); a.status != http.StatusForbidden {
		t.Errorf("another site used an approval: %d", a.status)
	}
	p.reached("/auto/cross2", 0)
	passed(t, p.send(p.mine(r, "Sec-Fetch-Site: same-origin")))
}

func (w *world) testLoA(t *testing.T) {
	p := w.person(t)
	held := p.sending(p.request("POST", "/loa/x", "x"))
	p.approve() // the simulator's tokens show no level
	refused(t, held(), http.StatusForbidden, "failed")
	p.reached("/loa/x", 0)
}

func (w *world) testEarlyData(t *testing.T) {
	p := w.person(t)
	refused(t, p.send(p.request("POST", "/auto/early", "x", "Early-Data: 1")), http.StatusTooEarly, "too_early")
	p.pushed(0)
	p.reached("/auto/early", 0)
}

func (w *world) testPreflight(t *testing.T) {
	p := w.person(t)
	preflight := p.request("OPTIONS", "/auto/cors", "", "Origin: https://other.example", "Access-Control-Request-Method: POST",
		"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors")
	preflight.Header.Del("Remote-User") // browsers send no credentials with it
	a := p.send(preflight)
	passed(t, a)
	for name := range a.header {
		if strings.HasPrefix(name, "Step-Up-") || name == "Set-Cookie" {
			t.Errorf("the answer to a preflight has %s", name)
		}
	}
	p.reached("/auto/cors", 1)

	// What only looks like one, and could do something.
	for name, r := range map[string]*http.Request{
		"no origin":            p.request("OPTIONS", "/auto/options", "", "Access-Control-Request-Method: POST"),
		"no requested method":  p.request("OPTIONS", "/auto/options", "", "Origin: http://"+w.gate),
		"with a body":          p.request("OPTIONS", "/auto/options", "x", "Origin: http://"+w.gate, "Access-Control-Request-Method: POST"),
		"with another method":  p.request("OPTIONS", "/auto/options", "", "Origin: http://"+w.gate, "Access-Control-Request-Method: POST", "X-HTTP-Method-Override: DELETE"),
		"with another URL":     p.request("OPTIONS", "/auto/options", "", "Origin: http://"+w.gate, "Access-Control-Request-Method: POST", "X-Original-URL: /admin"),
		"a GET with its heads": p.request("GET", "/auto/options", "", "Origin: http://"+w.gate, "Access-Control-Request-Method: POST"),
	} {
		withheld(t, name, p.send(again(r, async)))
	}
	p.untouched()
}

func (w *world) testConflict(t *testing.T) {
	p := w.person(t)
	r := p.request("POST", "/auto/one", "one")
	d := p.start(r)
	second := p.send(p.mine(p.request("POST", "/auto/two", "two", async)))
	refused(t, second, http.StatusConflict, "conflict")

	stranger := p.request("POST", "/auto/two", "two", async)
	stranger.Header.Del("Step-Up-Session")
	a := p.send(stranger)
	refused(t, a, http.StatusConflict, "conflict")
	if strings.Contains(a.body, d.Approval.Text) || strings.Contains(a.body, `"`+d.Approval.Code+`"`) {
		t.Errorf("another session was told what the user is asked: %s", a.body)
	}
	p.pushed(1)
	p.untouched()

	p.approve()
	if state := p.awaitState(r); state != "approved" {
		t.Fatalf("state is %s", state)
	}
	passed(t, p.send(p.mine(r)))
	// Now it is the other one's turn.
	p.start(p.mine(p.request("POST", "/auto/two", "two")))
	p.pushed(2)
	p.reached("/auto/two", 0)
}

func (w *world) testCoolDown(t *testing.T) {
	p := w.person(t)
	r := p.request("POST", "/auto/cool", "x")
	d := p.start(r)
	p.deny()
	if state := p.awaitState(r); state != "denied" {
		t.Fatalf("state is %s", state)
	}
	fresh := p.request("POST", "/auto/cool3", "x", async)
	fresh.Header.Del("Step-Up-Session")
	for name, next := range map[string]*http.Request{
		"the same, explicitly": p.mine(r, async, "Step-Up-Restart: "+d.Approval.ID),
		"something else":       p.mine(p.request("POST", "/auto/cool2", "x", async)),
		"without a session":    fresh,
	} {
		a := p.send(next)
		if a.status != http.StatusTooManyRequests || a.header.Get("Step-Up-State") != "limited" || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: answer is %d with state %q and Retry-After %q, want 429", name, a.status, a.header.Get("Step-Up-State"), a.header.Get("Retry-After"))
		}
	}
	p.pushed(1)
	p.untouched()
}
