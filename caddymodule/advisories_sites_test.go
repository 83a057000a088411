package caddymodule_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// staysHere tells whether a browser that follows a Location stays at the site,
// by the rules of the URL standard: it drops tabs and line ends, and reads a
// backslash as a slash.
func staysHere(location string) bool {
	browser := strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(location)
	if browser != location || !strings.HasPrefix(browser, "/") || strings.HasPrefix(browser, "//") {
		return false
	}
	base := &url.URL{Scheme: "https", Host: "all.example", Path: "/"}
	target, err := base.Parse(location)
	return err == nil && target.Host == base.Host && target.User == nil && target.Scheme == base.Scheme
}

// openRedirect follows the one redirect that the gate makes, from paths that
// name other hosts to somebody.
func (w *siege) openRedirect(t *testing.T) {
	p := w.person(t).keepCookies()
	page := p.browse(p.request("GET", "/pay", "", "Host: all.example"))
	p.phone()
	control := "step_up=cancel&step_up_approval=" + pageHandle.FindStringSubmatch(page.body)[1]
	session := p.cookies("http://all.example")[0]

	conn, err := net.Dial("tcp", p.gate)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	answers := bufio.NewReader(conn)
	tried := 0
	for _, slashes := range []string{
		"//", "///", `/\`, `/\/`, "/%5c", "/%2f", "/%2f%2f", "/.//", "/..//", "/%2e%2e//", "//./", "/;//", "/%09/", "/%0a/", "/%0d%0a/", "/%00/", "/%20//", "//@", "/x/..//",
	} {
		for _, host := range []string{
			"evil.example", "evil.example:443", "user@evil.example", "all.example@evil.example", "all.example.evil.example", "evil%E3%80%82example", "[::1]", "2130706433",
			"https://evil.example", "https:evil.example", "javascript:alert(1)",
		} {
			for _, rest := range []string{"", "/", "/../x", "/%2e%2e/x", "/x?u=//evil.example"} {
				path := slashes + host + rest
				separator := "?"
				if strings.Contains(path, "?") {
					separator = "&"
				}
				_, err := fmt.Fprintf(conn, "GET %s%s%s HTTP/1.1\r\nHost: all.example\r\nRemote-User: %s\r\nX-Forwarded-For: %s\r\nCookie: %s=%s\r\n\r\n",
					path, separator, control, p.name, p.ip, session.Name, session.Value)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := http.ReadResponse(answers, nil)
				if err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				_ = resp.Body.Close()
				location := resp.Header.Get("Location")
				if resp.StatusCode != http.StatusSeeOther || !staysHere(location) {
					t.Errorf("%s: answer is %d with Location %q", path, resp.StatusCode, location)
				}
				tried++
			}
		}
	}
	if tried < 800 {
		t.Errorf("%d paths were tried", tried)
	}
	p.untouched()
}

// crossSiteRequest lets another site's page send what only the person may.
func (w *siege) crossSiteRequest(t *testing.T) {
	p := w.person(t).keepCookies()
	page := p.browse(p.request("POST", "/auto/adv57", "a=1", formType))
	p.phone()
	handle := pageHandle.FindStringSubmatch(page.body)[1]
	control := func(name string) string { return "step_up=" + name + "&step_up_approval=" + handle }
	for _, from := range []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: https://evil.example", "Origin: null", "Origin: http://" + p.gate + ".evil.example", "Origin: http://127.0.0.1:1"} {
		for name, r := range map[string]*http.Request{
			"a start":           p.request("POST", "/auto/adv57b", "a=1", formType, from),
			"a start by GET":    p.request("GET", "/auto/adv57b", "", from),
			"a cancellation":    p.request("POST", "/auto/adv57", control("cancel"), formType, from),
			"a cancelling link": p.request("GET", "/auto/adv57?"+control("cancel"), "", from),
			"a continuation":    p.request("POST", "/auto/adv57", control("continue"), formType, from),
			"a restart":         p.request("POST", "/auto/adv57", control("restart"), formType, from),
			"a question":        p.request("POST", "/auto/adv57", "", "Step-Up-Status: 0", "Step-Up-Approval: "+handle, from),
			"the same request":  p.request("POST", "/auto/adv57", "a=1", formType, from),
		} {
			a := p.send(again(r, async))
			if a.status != http.StatusForbidden || a.header.Get("Step-Up-State") != "cross_site" {
				t.Errorf("%s with %s: answer is %d with state %q", name, from, a.status, a.header.Get("Step-Up-State"))
			}
		}
	}
	p.pushed(1)
	p.untouched()
	p.approve()
	passed(t, page.goesOn())

	// Origins are trusted as they are written, and no other.
	p = w.person(t)
	for origin, want := range map[string]int{
		"https://portal.example.dk.evil.example": http.StatusForbidden,
		"http://portal.example.dk":               http.StatusForbidden,
		"https://portal.example.dk:8443":         http.StatusForbidden,
		"https://xportal.example.dk":             http.StatusForbidden,
		"https://portalxexample.dk":              http.StatusForbidden,
		"https://evil.example/portal.example.dk": http.StatusForbidden,
		"null":                                   http.StatusForbidden,
		"https://portal.example.dk":              http.StatusUnauthorized,
	} {
		a := p.send(p.request("POST", "/trusting/adv57", "a=1", formType, "Sec-Fetch-Site: cross-site", "Origin: "+origin, async))
		if a.status != want {
			t.Errorf("from %s: answer is %d, want %d", origin, a.status, want)
		}
	}
}

// controlsWithoutAuthority uses what a page can do without the session that
// the page was made for, or without a user.
func (w *siege) controlsWithoutAuthority(t *testing.T) {
	victim := w.person(t).keepCookies()
	page := victim.browse(victim.request("POST", "/auto/adv58", "a=1", formType))
	victim.phone()
	handle := pageHandle.FindStringSubmatch(page.body)[1]
	same, nobody := w.person(t), w.person(t)
	same.name, same.uuid = victim.name, victim.uuid
	for who, p := range map[string]*person{"the user elsewhere": same, "another user": w.person(t), "nobody": nobody} {
		requests := []*http.Request{p.request("POST", "/auto/adv58", "", "Step-Up-Status: 0", "Step-Up-Approval: "+handle)}
		for _, name := range []string{"continue", "restart", "cancel"} {
			control := "step_up=" + name + "&step_up_approval=" + handle
			requests = append(requests, p.request("POST", "/auto/adv58", control, formType), p.request("GET", "/auto/adv58?"+control, ""))
		}
		for _, r := range requests {
			if p == nobody {
				r.Header.Del("Remote-User")
			}
			a := p.send(again(r, async))
			switch {
			case strings.Contains(a.body, page.header.Get("Step-Up-Session")) && page.header.Get("Step-Up-Session") != "":
				t.Errorf("%s was told the session", who)
			case r.Method == http.MethodPost && a.status != http.StatusForbidden, a.status < 400:
				t.Errorf("%s, %s %s: answer is %d with state %q", who, r.Method, r.URL, a.status, a.header.Get("Step-Up-State"))
			}
		}
	}
	victim.pushed(1)
	victim.approve()
	passed(t, page.goesOn())
}

// scriptInPage puts script wherever a page shows something of the request.
func (w *siege) scriptInPage(t *testing.T) {
	const script = `<script>alert(1)</script>`
	for _, c := range []struct{ path, note string }{
		{"/note/adv59", script},
		{"/note/adv59", `"><img src=x onerror=alert(1)>`},
		{"/note/adv59", `</title>` + script},
		{"/auto/" + url.PathEscape(script), ""},
		{"/auto/adv59?a=" + url.QueryEscape(`"onclick="alert(1)`), ""},
		{"/auto/adv59?a='onclick='alert(1)", ""},
	} {
		p := w.person(t).keepCookies()
		page := p.browse(p.request("GET", c.path, "", "X-Note: "+c.note, "Host: bank.example"))
		refused(t, page.answer, http.StatusUnauthorized, "pending")
		for _, bad := range []string{"<script>alert", "<img", "</title><script", `"onclick=`, `'onclick=`} {
			if strings.Contains(page.body, bad) {
				t.Errorf("%s: the page has %s", c.path, bad)
			}
		}
		if strings.Count(page.body, "http-equiv=\"refresh\" content=\"5\"") != 1 || strings.Count(page.body, "http-equiv") != 1 {
			t.Errorf("%s: the page is not refreshed to itself alone", c.path)
		}
	}
}

// doubleExpansion sends placeholders where a client's value is shown, matched,
// sent on or logged.
func (w *siege) doubleExpansion(t *testing.T) {
	victim := userName(people - 1)
	placeholder := "{env." + advisorySecret + "}"
	p := w.person(t)
	body := "amount=1&to=" + url.QueryEscape(placeholder)
	r := p.request("POST", "/form/adv61?x="+url.QueryEscape(placeholder), body, formType, "X-Note: "+placeholder)
	held := p.sending(r)
	if q := p.approve(); !strings.HasPrefix(q.Text, "Betal 1 kr. til "+placeholder+" [") {
		t.Errorf("the phone shows %q", q.Text)
	}
	passed(t, held())
	if got := w.upstream.arrivals("/form/adv61"); len(got) != 1 || got[0].body != body || got[0].header.Get("X-Note") != placeholder {
		t.Errorf("the application saw %+v", got)
	}

	p = w.person(t)
	p.start(p.request("POST", "/note/adv61", "x", "X-Note: "+placeholder))
	if q := p.phone(); !strings.HasPrefix(q.Text, placeholder+" [") {
		t.Errorf("the phone shows %q", q.Text)
	}
	p = w.person(t)
	r = p.request("POST", "/auto/adv61", "x", async)
	r.Header.Set("Remote-User", placeholder)
	refused(t, p.send(r), http.StatusForbidden, "forbidden")

	p = w.person(t)
	p.name = placeholder
	r = p.request("POST", "/facts/adv61", "x", "X-Uuid: "+p.uuid)
	p.approved(r)
	passed(t, p.send(p.mine(r)))
	if got := w.upstream.arrivals("/facts/adv61"); len(got) != 1 || strings.Contains(fmt.Sprint(got[0].header), victim) {
		t.Errorf("the application saw %+v", got)
	}
	if strings.Contains(w.log(), victim) {
		t.Error("the log shows what the placeholder stands for")
	}
}

// webSocket opens a connection of another protocol.
func (w *siege) webSocket(t *testing.T) {
	p := w.person(t)
	upgrade := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	a := p.send(p.request("GET", "/auto/adv62", "", append(upgrade, "Origin: https://evil.example", async)...))
	refused(t, a, http.StatusForbidden, "cross_site")
	p.pushed(0)
	a = p.send(p.request("GET", "/auto/adv62", "", append(upgrade, "Origin: http://"+p.gate, async)...))
	refused(t, a, http.StatusUnauthorized, "pending")
	p.untouched()
}
