package caddymodule_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// sessionFixation plants sessions: of the attacker's choosing, and the
// attacker's own.
func (w *siege) sessionFixation(t *testing.T) {
	attacker, victim := w.person(t), w.person(t)
	for _, chosen := range []string{"chosen", strings.Repeat("A", 64), strings.Repeat("x", 4096)} {
		for _, header := range []string{"Step-Up-Session: ", "Cookie: step_up="} {
			a := w.person(t).send(w.person(t).request("POST", "/auto/adv63", "x", header+chosen, async))
			refused(t, a, http.StatusUnauthorized, "pending")
			if given := a.header.Get("Step-Up-Session"); given == "" || given == chosen {
				t.Errorf("the gate gave out the session %q", given)
			}
		}
	}

	attacker.start(attacker.request("POST", "/auto/adv63a", "x"))
	victim.session = attacker.session
	r := victim.request("POST", "/auto/adv63b", "amount=1", formType)
	victim.approved(r)
	stolen := victim.mine(r)
	stolen.Header.Set("Remote-User", attacker.name)
	attacker.withheldAll(map[string]*http.Request{"the victim's approval": stolen})
	// Another sign-in in the same browser leaves what was approved unusable.
	next := victim.mine(r)
	next.Header.Set("Remote-User", w.person(t).name)
	withheld(t, "another user", victim.send(again(next, async)))
	next.Header.Del("Remote-User")
	refused(t, victim.send(next), http.StatusForbidden, "forbidden")
	victim.untouched()
	passed(t, victim.send(victim.mine(r)))

	// Not even where both are asked on the same phone.
	shared := victim.request("POST", "/facts/adv63", "x", "X-Uuid: "+victim.uuid)
	victim.approved(shared)
	stolen = victim.mine(shared)
	stolen.Header.Set("Remote-User", attacker.name)
	attacker.withheldAll(map[string]*http.Request{"the approval of another name": stolen})
	passed(t, victim.send(victim.mine(shared)))
}

// malformedCookie sends cookies that a parser could stumble over.
func (w *siege) malformedCookie(t *testing.T) {
	p := w.person(t)
	for _, cookie := range []string{
		"step_up", "step_up=", "=step_up", ";", ";;;", "step_up==", `step_up="`, `step_up=""`, "step_up=%00", "step_up=a b", "step_up=a,b", "$Version=1; step_up=x",
		"step_up=x; step_up=y; step_up=z", "STEP_UP=x", " step_up =x", "step_up=" + strings.Repeat("A", 10_000), strings.Repeat("a=b; ", 1000) + "step_up=x",
		"step_up=approved", "step_up=true", "step_up={http.step_up.user}", "__Host-step_up=x", "step_up=\xff\xfe", "step_up=\u00e6",
	} {
		withheld(t, fmt.Sprintf("%.40q", cookie), p.send(p.request("POST", "/auto/adv64", "x", "Cookie: "+cookie, async)))
	}
	p.untouched()
}

// outlivesSignIn goes on with a remembered approval after the user has signed
// out, and after the user has left the directory.
func (w *siege) outlivesSignIn(t *testing.T) {
	p := w.person(t)
	r := p.request("GET", "/remember/adv65", "")
	held := p.sending(r)
	p.approve()
	a := held()
	passed(t, a)
	p.session = a.header.Get("Step-Up-Session")
	r = p.mine(r)
	passed(t, p.send(r))

	out := again(r)
	out.Header.Del("Remote-User")
	refused(t, p.send(out), http.StatusForbidden, "forbidden")

	users, err := os.ReadFile(w.file("users.csv"))
	if err != nil {
		t.Fatal(err)
	}
	without := strings.Replace(string(users), p.name+","+p.uuid+"\n", "", 1)
	if err := os.WriteFile(w.file("new.csv"), []byte(without), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(w.file("new.csv"), w.file("users.csv")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the user's leave to take effect", func() bool {
		a := p.send(again(r))
		return a.status == http.StatusForbidden && a.header.Get("Step-Up-State") == "forbidden"
	})
}

// cacheKey uses a remembered approval for what it was not given for.
func (w *siege) cacheKey(t *testing.T) {
	p, other := w.person(t), w.person(t)
	r := p.request("GET", "/remember/adv66", "")
	held := p.sending(r)
	p.approve()
	p.session = held().header.Get("Step-Up-Session")
	passed(t, p.send(p.mine(r)))

	change := func(path string, do func(*http.Request)) *http.Request {
		changed := p.mine(p.request("GET", path, ""))
		do(changed)
		return changed
	}
	before := len(p.arrived())
	for name, r := range map[string]*http.Request{
		"another route":   change("/remember2/adv66", func(*http.Request) {}),
		"another kind":    change("/auto/adv66", func(*http.Request) {}),
		"another host":    change("/remember/adv66", func(r *http.Request) { r.Host = "other.example" }),
		"another port":    change("/remember/adv66", func(r *http.Request) { r.Host = "127.0.0.1:1" }),
		"another user":    change("/remember/adv66", func(r *http.Request) { r.Header.Set("Remote-User", other.name) }),
		"another session": change("/remember/adv66", func(r *http.Request) { r.Header.Del("Step-Up-Session") }),
	} {
		withheld(t, name, p.send(again(r, async)))
	}
	if got := len(p.arrived()); got != before {
		t.Errorf("the application saw %d requests more", got-before)
	}
	other.untouched()
}

// identitiesMixed has many people do the same at the same time.
func (w *siege) identitiesMixed(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			p := w.person(t)
			held := p.sending(p.request("POST", "/auto/adv67", "x"))
			if i%2 == 0 {
				p.approve()
				passed(t, held())
			} else {
				p.deny()
				refused(t, held(), http.StatusForbidden, "denied")
				p.untouched()
			}
			p.pushed(1)
			for _, a := range p.arrived() {
				if a.header.Get("X-Approved-User") != p.name || a.header.Get("X-Approved-Uuid") != p.uuid {
					t.Errorf("a request of one user was approved by another")
				}
			}
		})
	}
	wg.Wait()
	w.person(t).reached("/auto/adv67", 15)
}

// connectAndUnreadBody sends CONNECT, and a request within the body of one
// that is refused before its body is read.
func (w *siege) connectAndUnreadBody(t *testing.T) {
	p := w.person(t)
	for _, target := range []string{"/auto/adv69", "/remember/adv69"} {
		if got := p.raw(t, "CONNECT "+target+" HTTP/1.1\nHost: "+p.gate, ""); got != http.StatusMethodNotAllowed {
			t.Errorf("CONNECT %s: answer is %d", target, got)
		}
	}
	inner := "GET /open/adv69 HTTP/1.1\r\nHost: x\r\nRemote-User: " + p.name + "\r\n\r\n"
	for _, header := range []string{"Sec-Fetch-Site: cross-site", "Early-Data: 1", "Content-Type: text/plain"} {
		head := fmt.Sprintf("POST /form/adv69 HTTP/1.1\nHost: %s\n%s\nContent-Length: %d", p.gate, header, len(inner))
		if got := p.raw(t, head, inner); got < 400 {
			t.Errorf("%s: answer is %d", header, got)
		}
	}
	p.untouched()
}

// badFraming sends bodies that two servers could end in different places, or
// that do not end.
func (w *siege) badFraming(t *testing.T) {
	p := w.person(t)
	const head = "POST /auto/adv70 HTTP/1.1\nHost: x\n"
	for name, c := range map[string]struct{ head, body string }{
		"two lengths":           {head + "Content-Length: 1\nContent-Length: 2", "xy"},
		"a length that is none": {head + "Content-Length: +1", "x"},
		"an unknown coding":     {head + "Transfer-Encoding: xchunked", "1\r\nx\r\n0\r\n\r\n"},
		"codings in a list":     {head + "Transfer-Encoding: identity, chunked", "1\r\nx\r\n0\r\n\r\n"},
		"a bare line feed":      {head + "Transfer-Encoding: chunked", "1\nx\n0\n\n"},
		"a bad size":            {head + "Transfer-Encoding: chunked", "zz\r\nx\r\n0\r\n\r\n"},
		"chunks without an end": {head + "Transfer-Encoding: chunked", "1\r\nx\r\n"},
		"a chunk that is short": {head + "Transfer-Encoding: chunked", "9\r\nx\r\n0\r\n\r\n"},
		"a body that is short":  {head + "Content-Length: 9", "x"},
		"a short form":          {head + "Content-Type: application/x-www-form-urlencoded\nContent-Length: 9", "x"},
		"an upgrade, and more":  {head + "Connection: Upgrade\nUpgrade: websocket\nContent-Length: 9", "x"},
	} {
		if got := p.rawUntil(t, c.head, c.body, true); got == http.StatusOK || got == http.StatusUnauthorized {
			t.Errorf("%s: answer is %d", name, got)
		}
	}
	p.pushed(0)
	p.untouched()
}

// earlyDataReplayed sends an approved request as it would be replayed.
func (w *siege) earlyDataReplayed(t *testing.T) {
	p := w.person(t)
	r := p.request("POST", "/auto/adv71", "x")
	p.approved(r)
	refused(t, p.send(p.mine(r, "Early-Data: 1")), http.StatusTooEarly, "too_early")
	held := p.sending(p.request("GET", "/remember/adv71", ""))
	p.approve()
	p.session = held().header.Get("Step-Up-Session")
	before := len(p.arrived())
	refused(t, p.send(p.mine(p.request("GET", "/remember/adv71", "", "Early-Data: 1"))), http.StatusTooEarly, "too_early")
	if got := len(p.arrived()); got != before {
		t.Errorf("the application saw %d requests more", got-before)
	}
	p.reached("/auto/adv71", 0)
}

// answersCached looks for answers that a cache could give to somebody else,
// and for what a header that is no part of a cache's key could put in them.
func (w *siege) answersCached(t *testing.T) {
	p := w.person(t).keepCookies()
	poison := []string{"X-Forwarded-Host: evil.example", "X-Forwarded-Prefix: /evil.example", "X-Original-Url: /evil.example", "Referer: https://evil.example/"}
	page := p.browse(p.request("GET", "/auto/adv72", "", poison...))
	refused(t, page.answer, http.StatusUnauthorized, "pending")
	if strings.Contains(page.body, "evil.example") {
		t.Error("the page shows what an unkeyed header says")
	}
	for _, name := range []string{"Cookie", "Accept", "Accept-Language", "Sec-Fetch-Mode", "Step-Up-Status"} {
		if !strings.Contains(page.header.Get("Vary"), name) {
			t.Errorf("Vary is %q, without %s", page.header.Get("Vary"), name)
		}
	}
	p.phone()
	for _, r := range []*http.Request{
		p.request("GET", "/auto/adv72", "", async),
		p.request("GET", "/auto/adv72", "", "Step-Up-Status: 0"),
		p.request("POST", "/auto/adv72", "other", async),
		p.request("GET", "/auto/adv72", "", "Sec-Fetch-Site: cross-site"),
		p.request("GET", "/auto/adv72", "", "Early-Data: 1"),
		page.submit("cancel"),
		p.request("GET", "/auto/adv72", "", async),
	} {
		a := p.send(r)
		if got := a.header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("answer %d: Cache-Control is %q", a.status, got)
		}
	}
	p.untouched()
}

// calledBeforeApproval waits in every way there is, and looks for the
// application's work.
func (w *siege) calledBeforeApproval(t *testing.T) {
	for _, r := range []struct {
		method, path string
		header       []string
	}{
		{"GET", "/auto/adv73", []string{html5, "Sec-Fetch-Mode: navigate"}},
		{"POST", "/auto/adv73", []string{html5, "Sec-Fetch-Mode: navigate"}},
		{"GET", "/remember/adv73", []string{html5, "Sec-Fetch-Mode: navigate"}},
		{"POST", "/brief/adv73", nil},
		{"POST", "/auto/adv73", []string{"Prefer: wait=1"}},
		{"POST", "/auto/adv73", []string{async}},
		{"GET", "/remember/adv73", []string{async}},
		{"GET", "/auto/adv73", []string{"Range: bytes=0-1", async}},
		{"HEAD", "/auto/adv73", []string{"Prefer: wait=1"}},
	} {
		p := w.person(t)
		a := p.send(p.request(r.method, r.path, "", r.header...))
		refused(t, a, http.StatusUnauthorized, "pending")
		if strings.Contains(a.body, upstreamAnswer) {
			t.Errorf("%s %s: the answer has what is protected", r.method, r.path)
		}
		p.untouched()
	}
}

// errorPages lets the gate refuse where the site has error pages.
func (w *siege) errorPages(t *testing.T) {
	p := w.person(t)
	for name, r := range map[string]*http.Request{
		"cross site":   p.request("POST", "/auto/adv74", "x", "Sec-Fetch-Site: cross-site"),
		"early":        p.request("POST", "/auto/adv74", "x", "Early-Data: 1"),
		"too large":    p.request("POST", "/small/adv74", strings.Repeat("x", 2000)),
		"not shown":    p.request("POST", "/form/adv74", "x", formType),
		"no approval":  p.request("POST", "/auto/adv74", "x", "Step-Up-Status: 0"),
		"not approved": p.request("POST", "/auto/adv74", "x", async),
		"conflict":     p.request("POST", "/auto/adv74", "y", async),
	} {
		a := p.send(r)
		if strings.Contains(a.body, "an error page") || a.header.Get("Step-Up-State") == "" {
			t.Errorf("%s: the refusal went to an error page", name)
		}
	}
	p.untouched()
}

// untrustedForwarded sends, to a gate that trusts no proxy, what only a proxy
// may say.
func (w *siege) untrustedForwarded(t *testing.T) {
	config := w.adapt(w.appOptions(), "")
	trusting := `"trusted_proxies":{"ranges":["127.0.0.0/8"],"source":"static"}`
	untrusting := strings.ReplaceAll(string(config), trusting+",", "")
	untrusting = strings.ReplaceAll(untrusting, ","+trusting, "")
	if strings.Contains(untrusting, "trusted_proxies") {
		t.Fatalf("the configuration still trusts: %s", untrusting)
	}
	w.use([]byte(untrusting))
	p := w.person(t)
	r := p.request("POST", "/auto/adv31", "x", "X-Forwarded-Proto: https", "X-Real-Ip: 198.51.100.7", "Forwarded: for=198.51.100.7;proto=https")
	a := p.send(again(r, async))
	refused(t, a, http.StatusUnauthorized, "pending")
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name != "step_up" {
			t.Errorf("the gate believed the client that it uses TLS: cookie %s", c.Name)
		}
	}
	if q := p.phone(); q.IP != "127.0.0.1" {
		t.Errorf("the broker was told the address %s, want the connection's", q.IP)
	}
	p.untouched()
}

// replayAfterRestart sends an approved request again after the gateway has
// gone between use and answer, and after it has started anew.
func (w *siege) replayAfterRestart(t *testing.T) {
	redis := redistest.Start(t)
	fresh := prepareWorld(t, cibatest.Config{})
	load := func() {
		fresh.load(fresh.appOptions("store redis "+redis.URL), `
			step_up /dead/* {
				user {http.request.header.Remote-User}
			}
			reverse_proxy /dead/* 127.0.0.1:1
		`)
	}
	load()
	p := fresh.person(t)
	used, waiting := p.request("POST", "/auto/adv75", "x"), fresh.person(t)
	p.approved(used)
	lost := p.request("POST", "/dead/adv75", "x")
	passed(t, p.send(p.mine(used)))
	p.approved(lost)
	if a := p.send(p.mine(lost)); a.status != http.StatusBadGateway {
		t.Errorf("answer is %d, want 502 of a dead application", a.status)
	}
	ready := waiting.request("POST", "/auto/adv75b", "x")
	waiting.approved(ready)

	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	load()
	p.client.CloseIdleConnections()
	waiting.client.CloseIdleConnections()
	for _, r := range []*http.Request{used, lost} {
		refused(t, p.send(p.mine(r, async)), http.StatusForbidden, "spent")
	}
	passed(t, waiting.send(waiting.mine(ready)))
	refused(t, waiting.send(waiting.mine(ready)), http.StatusForbidden, "spent")
	p.reached("/auto/adv75", 1)
	p.reached("/auto/adv75b", 1)
}
