package caddymodule_test

import (
	"html"

	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// shownPage is a waiting page in a browser without JavaScript.
type shownPage struct {
	*person
	answer
	at *http.Request
}

// browse navigates, and returns the page of the gate that must come.
func (p *person) browse(r *http.Request) shownPage {
	p.TB.Helper()
	return p.page(r, p.send(navigating(r)))
}

// navigating makes a request a browser's.
func navigating(r *http.Request) *http.Request {
	return again(r, html5, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: same-origin")
}

// page checks that an answer to a request is a page of the gate.
func (p *person) page(r *http.Request, a answer) shownPage {
	p.TB.Helper()
	if got := a.header.Get("Content-Type"); got != "text/html; charset=utf-8" || a.header.Get("Step-Up-State") == "" {
		p.TB.Fatalf("%s %s: answer is %d %s, want a page of the gate\n%.300s", r.Method, r.URL.Path, a.status, got, a.body)
	}
	policy := a.header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
		p.TB.Errorf("Content-Security-Policy is %q", policy)
	}
	if handle := pageHandle.FindStringSubmatch(a.body); handle != nil {
		p.secret(handle[1])
	}
	return shownPage{p, a, r}
}

var (
	pageHandle = regexp.MustCompile(`data-handle="([^"]+)"`)
	pageForm   = regexp.MustCompile(`(?s)<form method="post".*?name="step_up" value="(\w+)".*?name="step_up_approval" value="([^"]+)".*?</form>`)
	pageLink   = regexp.MustCompile(`<a [^>]*href="(\?[^"]*step_up=(\w+)[^"]*)"`)
)

// has tells whether the page has a control.
func (s shownPage) has(control string) bool {
	for _, pattern := range []*regexp.Regexp{pageForm, pageLink} {
		for _, found := range pattern.FindAllStringSubmatch(s.body, -1) {
			if found[1] == control || len(found) > 2 && found[2] == control {
				return true
			}
		}
	}
	return false
}

// submit is the request that a control of the page sends.
func (s shownPage) submit(control string) *http.Request {
	s.TB.Helper()
	for _, found := range pageForm.FindAllStringSubmatch(s.body, -1) {
		if found[1] == control {
			r := s.request(http.MethodPost, s.at.URL.RequestURI(), "step_up="+control+"&step_up_approval="+found[2], formType)
			r.Host = s.at.Host
			return navigating(r)
		}
	}
	for _, found := range pageLink.FindAllStringSubmatch(s.body, -1) {
		if found[2] == control {
			return navigating(s.request(http.MethodGet, s.at.URL.EscapedPath()+html.UnescapeString(found[1]), ""))
		}
	}
	s.TB.Fatalf("the page, with state %s, has no control %q", s.header.Get("Step-Up-State"), control)
	return nil
}

// goesOn presses "continue", or reloads a GET, until the page is another one
// than the pending one.
func (s shownPage) goesOn() (a answer) {
	s.TB.Helper()
	eventually(s.TB, "the page to go on", func() bool {
		if s.at.Method == http.MethodPost {
			a = s.send(s.submit("continue"))
		} else {
			a = s.send(navigating(s.at))
		}
		return a.status != http.StatusUnauthorized
	})
	return a
}

// html5 is what browsers accept when they navigate.
const html5 = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

func (w *world) testPagePost(t *testing.T) {
	p := w.person(t).keepCookies()
	const body = "amount=100&to=B%C3%B8rge&note=a%0D%0Ab"
	r := p.request("POST", "/form/page?x=%2F&y", body, formType)
	page := p.browse(r)
	refused(t, page.answer, http.StatusUnauthorized, "pending")
	q := p.phone()
	if !strings.Contains(page.body, html.EscapeString(q.Text)) {
		t.Errorf("the page does not show the text %q", q.Text)
	}
	for _, control := range []string{"continue", "cancel"} {
		if !page.has(control) {
			t.Errorf("the page has no control %q", control)
		}
	}
	// Too early: the same page again, and nothing lost.
	early := p.page(r, p.send(page.submit("continue")))
	refused(t, early.answer, http.StatusUnauthorized, "pending")
	p.untouched()
	p.approve()
	passed(t, early.goesOn())
	p.pushed(1)
	arrivals := p.arrived()
	if len(arrivals) != 1 {
		t.Fatalf("the application saw %d requests, want 1", len(arrivals))
	}
	if got := arrivals[0]; got.body != body || got.uri != "/form/page?x=%2F&y" || got.method != "POST" ||
		got.header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		t.Errorf("the application saw %s %s with the body %q", got.method, got.uri, got.body)
	}
	// Back, and the button once more.
	refused(t, p.send(page.submit("continue")), http.StatusForbidden, "spent")
	if got := len(p.arrived()); got != 1 {
		t.Errorf("the application saw %d requests, want 1", got)
	}
}

func (w *world) testPageGet(t *testing.T) {
	p := w.person(t).keepCookies()
	r := p.request("GET", "/auto/pageget?q=(a)&b=%C3%A6", "")
	page := p.browse(r)
	refused(t, page.answer, http.StatusUnauthorized, "pending")
	p.approve()
	passed(t, page.goesOn())
	p.pushed(1)
	if got := p.arrived(); len(got) != 1 || got[0].uri != "/auto/pageget?q=(a)&b=%C3%A6" {
		t.Errorf("the application saw %+v", got)
	}

	// Cancel and restart are links that lead back to the same URL.
	p = w.person(t).keepCookies()
	r = p.request("GET", "/auto/pageget?q=(a)&b=%C3%A6", "")
	page = p.browse(r)
	q := p.phone()
	back := p.send(page.submit("cancel"))
	if back.status != http.StatusSeeOther || back.header.Get("Location") != "/auto/pageget?q=(a)&b=%C3%A6" {
		t.Errorf("cancel answers %d to %q, want 303 back", back.status, back.header.Get("Location"))
	}
	page = p.browse(r)
	refused(t, page.answer, http.StatusForbidden, "cancelled")
	eventually(t, "the broker to hear of the cancellation", func() bool { return w.stateOf(q.ID) == cibatest.StateCancelled })
	p.pushed(1)
	back = p.send(page.submit("restart"))
	if back.status != http.StatusSeeOther || back.header.Get("Location") != "/auto/pageget?q=(a)&b=%C3%A6" {
		t.Errorf("restart answers %d to %q, want 303 back", back.status, back.header.Get("Location"))
	}
	page = p.browse(r)
	refused(t, page.answer, http.StatusUnauthorized, "pending")
	p.pushed(2)
	p.approve()
	passed(t, page.goesOn())
}

// stateOf is the state of a request at the broker.
func (w *world) stateOf(id string) cibatest.State {
	for _, q := range w.broker.Requests() {
		if q.ID == id {
			return q.State
		}
	}
	return ""
}

func (w *world) testPageRestart(t *testing.T) {
	p := w.person(t).keepCookies()
	const body = "amount=7&to=a"
	r := p.request("POST", "/form/pagerestart", body, formType)
	page := p.browse(r)
	p.phone()
	page = p.page(r, p.send(page.submit("cancel")))
	refused(t, page.answer, http.StatusForbidden, "cancelled")
	// Reloading the page that says so repeats the control, and asks for nothing.
	refused(t, p.send(again(page.at, html5)), http.StatusForbidden, "cancelled")
	p.pushed(1)
	page = p.page(r, p.send(page.submit("restart")))
	refused(t, page.answer, http.StatusUnauthorized, "pending")
	p.pushed(2)
	p.approve()
	passed(t, page.goesOn())
	if got := p.arrived(); len(got) != 1 || got[0].body != body {
		t.Errorf("the application saw %+v, want the form as it was", got)
	}
}

func (w *world) testPageCancel(t *testing.T) {
	p := w.person(t).keepCookies()
	r := p.request("POST", "/auto/pagecancel", "x")
	page := p.browse(r)
	q := p.phone()
	refused(t, p.send(page.submit("cancel")), http.StatusForbidden, "cancelled")
	eventually(t, "the broker to hear of the cancellation", func() bool { return w.stateOf(q.ID) == cibatest.StateCancelled })
	refused(t, p.send(page.submit("continue")), http.StatusForbidden, "cancelled")
	p.pushed(1)
	p.untouched()
}

func (w *world) testPageReload(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		p := w.person(t).keepCookies()
		r := p.request(method, "/auto/reload", "")
		first := p.browse(r)
		for range 5 {
			if page := p.browse(r); pageHandle.FindString(page.body) != pageHandle.FindString(first.body) {
				t.Errorf("%s: a reload shows another approval", method)
			}
		}
		p.pushed(1)
		p.deny()
		refused(t, first.goesOn(), http.StatusForbidden, "denied")
		for range 3 {
			refused(t, p.browse(r).answer, http.StatusForbidden, "denied")
		}
		p.pushed(1)
		p.untouched()
	}
}

func (w *world) testPageLanguage(t *testing.T) {
	for accept, want := range map[string]string{"da-DK,da;q=0.9,en;q=0.5": "da", "en-GB,en;q=0.9": "en"} {
		p := w.person(t).keepCookies()
		page := p.browse(p.request("GET", "/auto/language", "", "Accept-Language: "+accept))
		if !strings.Contains(page.body, `<html lang="`+want+`">`) {
			t.Errorf("Accept-Language %s: page is not in %s", accept, want)
		}
		p.phone()
	}
}

// testControlElsewhere posts the control of one approval to another path of the
// same policy: the parked body must not run there.
func (w *world) testControlElsewhere(t *testing.T) {
	p := w.person(t).keepCookies()
	r := p.request("POST", "/auto/here", "amount=1", formType)
	page := p.browse(r)
	p.approve()
	elsewhere := page.submit("continue")
	elsewhere.URL.Path = "/auto/there"
	for range 2 { // before and after the answer has been collected
		if a := p.send(again(elsewhere)); a.body == upstreamAnswer {
			t.Error("an approval passed a request to another path")
		}
		if state := p.awaitPage(page); state != "approved" {
			t.Fatalf("state is %s", state)
		}
	}
	p.untouched()
	passed(t, page.goesOn())
	p.reached("/auto/here", 1)
	p.reached("/auto/there", 0)
}

// awaitPage asks for the state of a page's approval, as its script does.
func (p *person) awaitPage(page shownPage) (state string) {
	p.TB.Helper()
	handle := pageHandle.FindStringSubmatch(page.body)
	if handle == nil {
		p.TB.Fatal("the page has no handle")
	}
	eventually(p.TB, "an answer of the phone", func() bool {
		r := p.request(page.at.Method, page.at.URL.RequestURI(), "", status, "Step-Up-Approval: "+handle[1], "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors")
		a := p.send(r)
		if a.status != http.StatusOK {
			p.TB.Fatalf("asked for the state: %d %s", a.status, a.body)
		}
		state = a.header.Get("Step-Up-State")
		return state != "pending"
	})
	return state
}

// testOtherHandle uses somebody's page in another session, by the same user and
// by another one.
func (w *world) testOtherHandle(t *testing.T) {
	victim := w.person(t).keepCookies()
	r := victim.request("POST", "/auto/handle", "amount=1", formType)
	page := victim.browse(r)
	victim.approve()
	if state := victim.awaitPage(page); state != "approved" {
		t.Fatalf("state is %s", state)
	}
	handle := pageHandle.FindStringSubmatch(page.body)[1]

	thief := w.person(t).keepCookies()
	thief.browse(thief.request("GET", "/auto/own", "")) // has a session of their own
	same := w.person(t).keepCookies()
	same.name, same.uuid = victim.name, victim.uuid
	for name, p := range map[string]*person{"another user": thief, "another session": same} {
		for _, control := range []string{"continue", "restart", "cancel"} {
			c := again(p.request("POST", "/auto/handle", "step_up="+control+"&step_up_approval="+handle, formType))
			c.Header.Set("Remote-User", p.name)
			refused(t, p.send(c), http.StatusForbidden, "none")
		}
		a := p.send(p.request("POST", "/auto/handle", "", status, "Step-Up-Approval: "+handle))
		refused(t, a, http.StatusForbidden, "none")
		if a.status == http.StatusOK {
			t.Errorf("%s was told the state", name)
		}
	}
	victim.untouched()
	thief.untouched()
	passed(t, page.goesOn())
	victim.reached("/auto/handle", 1)
}
