package caddymodule_test

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// ourNames are the headers that the gate hands to the application.
var ourNames = []string{"Step-Up-User", "Step-Up-Uuid", "Step-Up-Approval", "Step-Up-Time"}

// onlyFacts checks that the application saw the gate's own headers, each once
// and true, or none of them.
func onlyFacts(t *testing.T, p *person, got arrival, wanted bool) {
	t.Helper()
	ours := 0
	for name, values := range got.header {
		if !strings.HasPrefix(strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name)), "step-up") {
			continue
		}
		ours++
		if len(values) != 1 || strings.Contains(values[0], "forged") {
			t.Errorf("the application saw %s: %q", name, values)
		}
	}
	if !wanted {
		if ours > 0 {
			t.Errorf("the application saw %d headers of the gate, want none", ours)
		}
		return
	}
	if ours != len(ourNames) {
		t.Errorf("the application saw %d headers of the gate, want %d", ours, len(ourNames))
	}
	user, err := url.PathUnescape(got.header.Get("Step-Up-User"))
	if err != nil || user != p.name {
		t.Errorf("Step-Up-User is %q", got.header.Get("Step-Up-User"))
	}
	if id := got.header.Get("Step-Up-Uuid"); id != p.uuid {
		t.Errorf("Step-Up-Uuid is %q, want %q", id, p.uuid)
	}
	if id := got.header.Get("Step-Up-Approval"); !approvalID.MatchString(id) {
		t.Errorf("Step-Up-Approval is %q", id)
	}
	if at, err := time.Parse(time.RFC3339, got.header.Get("Step-Up-Time")); err != nil || time.Since(at) > time.Hour {
		t.Errorf("Step-Up-Time is %q", got.header.Get("Step-Up-Time"))
	}
}

// forged sends an approved request with headers that the approval does not
// vouch for, and returns what the application saw.
func (w *siege) forged(t *testing.T, path string, header http.Header) (*person, arrival) {
	t.Helper()
	p := w.person(t)
	r := p.request("POST", path, "x", "X-Uuid: "+p.uuid)
	p.approved(r)
	r = p.mine(r)
	for name, values := range header {
		r.Header[name] = values
	}
	passed(t, p.send(r))
	arrivals := p.arrived()
	if len(arrivals) != 1 {
		t.Fatalf("the application saw %d requests", len(arrivals))
	}
	return p, arrivals[0]
}

// identityForged sends the headers that the gate hands to the application, in
// front of a route that sets them and of one that does not, and the user's
// header twice.
func (w *siege) identityForged(t *testing.T) {
	forged := make(http.Header)
	for _, name := range ourNames {
		forged[name] = []string{"forged", "forged, too"}
	}
	delete(forged, "Step-Up-Approval") // names an approval, see internalFields
	p, got := w.forged(t, "/facts/adv24", forged)
	onlyFacts(t, p, got, true)
	p, got = w.forged(t, "/auto/adv24", forged)
	onlyFacts(t, p, got, false)

	// And on a route where nothing more has to be approved.
	r := p.request("GET", "/remember/adv24", "")
	held := p.sending(r)
	p.approve()
	passed(t, held())
	r = p.mine(r)
	r.Header["Step-Up-User"] = []string{"forged"}
	passed(t, p.send(r))
	for _, got := range w.upstream.arrivals("/remember/adv24") {
		onlyFacts(t, p, got, false)
	}

	first, second := w.person(t), w.person(t)
	for _, names := range [][]string{{first.name, second.name}, {second.name, first.name}} {
		r := first.request("POST", "/auto/adv33", "x")
		r.Header["Remote-User"] = names
		refused(t, first.send(r), http.StatusForbidden, "forbidden")
	}
	first.pushed(0)
	second.pushed(0)
	first.untouched()
	second.untouched()
}

// identityAliases sends names that PHP and others take for the gate's.
func (w *siege) identityAliases(t *testing.T) {
	aliases := make(http.Header)
	for _, name := range []string{
		"Step_Up_User", "step_up_uuid", "STEP_UP_TIME", "Step.Up.User", "step.up_uuid", "Step-Up_User", "Step_Up-Uuid", "Step.Up-Time",
		"step-up_anything", "Step_Up.", "Step_Up_State",
		"Step_Up_Extra", "Step.Up.Extra", "Step-Up_Extra2", "step_up.extra3", // which Caddy lets in here
	} {
		aliases[name] = []string{"forged"}
	}
	p, got := w.forged(t, "/facts/adv25", aliases)
	onlyFacts(t, p, got, true)
	p, got = w.forged(t, "/auto/adv25", aliases)
	onlyFacts(t, p, got, false)

	// Routes that are not gated can do the same by request_header, as
	// docs/security.md says.
	p = w.person(t)
	r := p.request("GET", "/open/adv25", "", "Step-Up-User: forged")
	for name := range aliases {
		r.Header[name] = []string{"forged"}
	}
	passed(t, p.send(r))
	onlyFacts(t, p, w.upstream.arrivals("/open/adv25")[0], false)
}

// forwardedAliases sends other spellings of headers that decide something.
func (w *siege) forwardedAliases(t *testing.T) {
	p, other := w.person(t), w.person(t)
	r := p.request("POST", "/auto/adv27", "x",
		"X_Forwarded_Proto: https", "X.Forwarded.Proto: https", "X_Forwarded_For: 198.51.100.7", "X_Real_Ip: 198.51.100.7",
		"Remote_User: "+other.name, "Remote.User: "+other.name)
	a := p.send(again(r, async))
	refused(t, a, http.StatusUnauthorized, "pending")
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name != "step_up" || c.Secure {
			t.Errorf("the gate took plain HTTP for TLS: cookie %s, Secure %v", c.Name, c.Secure)
		}
	}
	if q := p.phone(); q.IP != p.ip {
		t.Errorf("the broker was told the address %s, want %s", q.IP, p.ip)
	}
	other.pushed(0)
	p.untouched()
}

// redirectFromForwarded sends headers that name other hosts and paths, with a
// control that is answered by a redirect.
func (w *siege) redirectFromForwarded(t *testing.T) {
	p := w.person(t).keepCookies()
	page := p.browse(p.request("GET", "/auto/adv29?a=1", ""))
	p.phone()
	r := again(page.submit("cancel"),
		"X-Forwarded-Host: evil.example", "X-Forwarded-Prefix: //evil.example", "X-Forwarded-Port: 8080", "Forwarded: host=evil.example;proto=https",
		"X-Forwarded-Uri: //evil.example", "X-Original-URL: //evil.example", "Referer: https://evil.example/")
	a := p.send(r)
	if a.status != http.StatusSeeOther || a.header.Get("Location") != "/auto/adv29?a=1" {
		t.Errorf("answer is %d with Location %q", a.status, a.header.Get("Location"))
	}
	p.untouched()
}

// magicHeaders sends what makes other gates look away.
func (w *siege) magicHeaders(t *testing.T) {
	p := w.person(t)
	for _, header := range []string{
		"X-Middleware-Subrequest: middleware:middleware:middleware:middleware:middleware", "X-Step-Up: off", "Step-Up-Skip: 1", "Step-Up: off",
		"X-Forwarded-Uri: /open", "X-Forwarded-Path: /open", "X-Forwarded-Method: OPTIONS", "X-Original-Uri: /open", "X-Original-Url: /open",
		"X-Rewrite-Url: /open", "X-Http-Method-Override: OPTIONS", "User-Agent: kube-probe/1.29", "User-Agent: GoogleHC/1.0",
		"User-Agent: ELB-HealthChecker/2.0", "X-Forwarded-For: 127.0.0.1", "X-Real-Ip: 127.0.0.1", "Upgrade-Insecure-Requests: 1", "Purpose: prefetch",
		"Authorization: Bearer x", "Max-Forwards: 0", "Expect: 100-continue", "Accept: text/event-stream", "X-Requested-With: XMLHttpRequest",
	} {
		withheld(t, header, p.send(p.request("POST", "/auto/adv30", "x", header, async)))
	}
	p.untouched()
}

// connectionOptions orders the proxy behind the gate to drop what the gate
// sets, and sends trailers under the gate's names.
func (w *siege) connectionOptions(t *testing.T) {
	for _, options := range []string{
		"close, Step-Up-User, Step-Up-Uuid, Step-Up-Approval, Step-Up-Time", "step-up-user", "STEP-UP-UUID,step-up-approval , Step-Up-Time",
	} {
		p, got := w.forged(t, "/facts/adv32", http.Header{"Connection": {options}, "Keep-Alive": {"Step-Up-User"}, "Te": {"Step-Up-User"}})
		onlyFacts(t, p, got, true)
	}

	p := w.person(t)
	r := p.request("POST", "/auto/trailer/adv32", "x")
	p.approved(r)
	r = p.mine(r)
	r.ContentLength = -1
	r.Body = io.NopCloser(strings.NewReader("x"))
	r.Trailer = http.Header{"Step-Up-User": {"forged"}, "Content-Type": {"text/plain"}}
	passed(t, p.send(r))
	if trailers := <-w.trailers; len(trailers) > 0 {
		t.Errorf("the application saw the trailers %v", trailers)
	}
}

// claimsInjectHeaders has names that would end a header, or begin another.
func (w *siege) claimsInjectHeaders(t *testing.T) {
	p := w.person(t)
	for _, name := range []string{"a%0D%0AStep-Up-Uuid:%20x", "a%0Ab", "%00", "a%00b", "a%7F", "a%C2%85b", "%FF", "a%E2%80%AEb", "a%E2%80%8Bb"} {
		r := p.request("POST", "/claims/adv36?user="+name, "x", "X-Uuid: "+p.uuid)
		refused(t, p.send(r), http.StatusForbidden, "forbidden")
	}
	p.pushed(0)
	p.untouched()

	p.name = "Børge %0D%0AStep-Up-Uuid: x,y"
	r := p.request("POST", "/facts/adv36", "x", "X-Uuid: "+p.uuid)
	p.approved(r)
	passed(t, p.send(p.mine(r)))
	got := w.upstream.arrivals("/facts/adv36")
	if len(got) != 1 {
		t.Fatalf("the application saw %d requests", len(got))
	}
	if user := got[0].header.Get("Step-Up-User"); !regexp.MustCompile(`^[!-~]+$`).MatchString(user) {
		t.Errorf("Step-Up-User is %q, want printable ASCII", user)
	}
	p.name = "børge %0d%0astep-up-uuid: x,y" // as names are compared
	onlyFacts(t, p, got[0], true)
}

// unparsableForwardedFor sends addresses that are none.
func (w *siege) unparsableForwardedFor(t *testing.T) {
	p := w.person(t)
	for _, address := range []string{"a", "", ",", "127.0.0.1, a", "999.1.1.1", "unknown"} {
		r := p.request("POST", "/auto/adv38", "x", async)
		r.Header.Set("X-Forwarded-For", address)
		withheld(t, address, p.send(r))
	}
	p.untouched()
	// Addresses have one spelling.
	mapped := w.person(t)
	r := mapped.request("POST", "/auto/adv37", "x")
	r.Header.Set("X-Forwarded-For", "::ffff:"+mapped.ip)
	mapped.start(r)
	if q := mapped.phone(); q.IP != mapped.ip {
		t.Errorf("the broker was told the address %s, want %s", q.IP, mapped.ip)
	}
}

// userMatchedByPart has names that contain somebody else's.
func (w *siege) userMatchedByPart(t *testing.T) {
	p := w.person(t)
	for _, name := range []string{
		p.name + "@evil.example", "a@evil.example@" + p.name, p.name + "," + p.name, "x" + p.name, p.name + "x", strings.TrimSuffix(p.name, ".dk"),
		p.name + "%00", `"` + p.name + `"`, "<" + p.name + ">", p.name + ".", strings.Replace(p.name, "@", "@@", 1), "cіtizen" + strings.TrimPrefix(p.name, "citizen"),
	} {
		r := p.request("POST", "/auto/adv39", "x")
		r.Header.Set("Remote-User", name)
		a := p.send(r)
		refused(t, a, http.StatusForbidden, "forbidden")
	}
	p.pushed(0)
	if got := w.upstream.arrivals("/auto/adv39"); len(got) > 0 {
		t.Errorf("the application saw %d requests", len(got))
	}
}

// headersOnPreflight sends the gate's headers and cookies with what passes
// without an approval, and tries to pass with what is no preflight.
func (w *siege) headersOnPreflight(t *testing.T) {
	p := w.person(t)
	preflight := func(path string, header ...string) *http.Request {
		return p.request("OPTIONS", path, "", append(header, "Origin: https://evil.example", "Access-Control-Request-Method: POST")...)
	}
	r := preflight("/facts/adv40", "X-Uuid: "+p.uuid, "Cookie: step_up=x; app=1")
	for _, name := range []string{"Step-Up-User", "step_up_uuid", "Step.Up.Time", "Step-Up-Status"} {
		r.Header[name] = []string{"forged"}
	}
	passed(t, p.send(r))
	got := p.arrived()
	if len(got) != 1 {
		t.Fatalf("the application saw %d requests", len(got))
	}
	onlyFacts(t, p, got[0], false)
	if cookie := got[0].header.Get("Cookie"); cookie != "app=1" {
		t.Errorf("the application saw the cookie %q", cookie)
	}
	p.pushed(0)

	p = w.person(t)
	body := preflight("/auto/adv40", "Content-Type: text/plain")
	setBody(body, "x")
	requests := map[string]*http.Request{
		"with a body":       body,
		"without origin":    p.request("OPTIONS", "/auto/adv40", "", "Access-Control-Request-Method: POST"),
		"without method":    p.request("OPTIONS", "/auto/adv40", "", "Origin: https://evil.example"),
		"by another method": p.request("POST", "/auto/adv40", "", "Origin: https://evil.example", "Access-Control-Request-Method: POST"),
	}
	for _, name := range methodOverrides {
		overriding := preflight("/auto/adv40")
		overriding.Header[name] = []string{"POST"}
		requests["with "+name] = overriding
	}
	p.withheldAll(requests)
}

// methodOverrides are headers by which applications take a request for one of
// another method. Caddy drops their aliases with _ and . in place of -.
var methodOverrides = []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"}
