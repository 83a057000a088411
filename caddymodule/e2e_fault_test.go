package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// unavailable checks that an answer asks for patience.
func unavailable(t testing.TB, a answer) {
	t.Helper()
	refused(t, a, http.StatusServiceUnavailable, "unavailable")
	if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || seconds < 1 {
		t.Errorf("Retry-After is %q, want seconds", a.header.Get("Retry-After"))
	}
}

// logged checks that a line of the gate at WARN or above has these words.
func (w *world) logged(t testing.TB, words ...string) {
	t.Helper()
next:
	for line := range strings.Lines(w.log()) {
		var entry struct{ Level, Logger string }
		if json.Unmarshal([]byte(line), &entry) != nil || entry.Level != "warn" && entry.Level != "error" ||
			!strings.Contains(entry.Logger, "step_up") {
			continue
		}
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue next
			}
		}
		return
	}
	t.Errorf("no log line helps with %q", words)
}

// comesBack waits until somebody new is asked again, and lets them pass.
func (w *world) comesBack(t testing.TB, path string) {
	t.Helper()
	var p *person
	var r *http.Request
	eventually(t, "the gate to ask again", func() bool {
		p = w.person(t)
		r = p.request("POST", path, "x")
		a := p.send(again(r, async))
		p.session = a.header.Get("Step-Up-Session")
		if a.status != http.StatusUnauthorized {
			unavailable(t, a)
		}
		return a.status == http.StatusUnauthorized
	})
	p.approve()
	passed(t, p.send(p.mine(r)))
	p.reached(path, 1)
}

func TestGate_refusesWhileBrokerIsDown(t *testing.T) {
	w := newWorld(t)
	w.wire.cut()
	p := w.person(t)
	r := p.request("POST", "/auto/down", "x")
	a := p.send(r)
	unavailable(t, a)
	p.session = a.header.Get("Step-Up-Session")
	unavailable(t, p.send(p.mine(r, async)))
	p.untouched()
	passed(t, p.send(p.request("GET", "/open", "")))
	w.logged(t, "provider_unavailable", "connection refused")
	w.wire.mend()
	w.comesBack(t, "/auto/back")

	// What is pending when it goes down is finished when it is back.
	p = w.person(t)
	held := p.sending(p.request("POST", "/auto/held", "x"))
	q := p.phone()
	w.wire.cut()
	if err := w.broker.Approve(q.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a poll that does not get through", func() bool {
		return strings.Contains(w.log(), "polling: trying again later")
	})
	p.untouched()
	w.wire.mend()
	passed(t, held())
	p.pushed(1)
}

// TestGate_startsNothingTwice lets the broker answer the start with nonsense.
// It may have asked the person: nobody's phone rings a second time for it.
func TestGate_startsNothingTwice(t *testing.T) {
	w := newWorld(t)
	for name, fault := range map[string]cibatest.Fault{
		"a server error":           {Answer: cibatest.AnswerStatus, Status: 500},
		"a server error, too late": {Answer: cibatest.AnswerStatus, Status: 502, After: true},
		"too many requests":        {Answer: cibatest.AnswerStatus, Status: 429, RetryAfter: "3"},
		"a page":                   {Answer: cibatest.AnswerHTML},
		"a redirect":               {Answer: cibatest.AnswerRedirect},
		"a connection that ends":   {Answer: cibatest.AnswerDrop},
		"an answer that is lost":   {Answer: cibatest.AnswerDrop, After: true},
		"an answer that is cut":    {Answer: cibatest.AnswerBrokenJSON},
		"an answer without an end": {Answer: cibatest.AnswerOversize},
	} {
		t.Run(name, func(t *testing.T) {
			fault.Endpoint = cibatest.EndpointStart
			remove := w.broker.Inject(fault)
			before := w.starts()
			p := w.person(t)
			r := p.request("POST", "/auto/start", "x")
			a := p.send(r)
			unavailable(t, a)
			remove()
			p.session = a.header.Get("Step-Up-Session")
			unavailable(t, p.send(p.mine(r, async)))
			if got := w.starts() - before; got != 1 {
				t.Errorf("the broker was asked %d times, want 1", got)
			}
			p.untouched()
		})
	}
	w.comesBack(t, "/auto/back")
}

// starts is how often the broker was asked to ask somebody.
func (w *world) starts() (n int) {
	for _, call := range w.broker.Log() {
		if call.Endpoint == cibatest.EndpointStart {
			n++
		}
	}
	return n
}

func TestGate_waitsOutTroubleWithPolls(t *testing.T) {
	w := newWorld(t)
	tests := make(map[string]func(*testing.T))
	for name, fault := range map[string]cibatest.Fault{
		"a server error":   {Endpoint: cibatest.EndpointToken, Answer: cibatest.AnswerStatus},
		"a page":           {Endpoint: cibatest.EndpointToken, Answer: cibatest.AnswerHTML},
		"a dropped answer": {Endpoint: cibatest.EndpointToken, Answer: cibatest.AnswerDrop},
	} {
		tests[name] = func(t *testing.T) {
			p := w.person(t)
			held := p.sending(p.request("POST", "/auto/poll", "x"))
			fault.AuthReqID, fault.Count = p.phone().ID, 1
			w.broker.Inject(fault)
			p.approve()
			passed(t, held())
			p.pushed(1)
		}
	}
	// The final answer comes once: what is lost is lost, and nobody passes.
	tests["a final answer that is lost"] = func(t *testing.T) {
		p := w.person(t)
		held := p.sending(p.request("POST", "/auto/lost", "x"))
		q := p.phone()
		p.approve()
		w.broker.Inject(cibatest.Fault{
			Endpoint: cibatest.EndpointToken, AuthReqID: q.ID, Answer: cibatest.AnswerDrop, After: true, Count: 1,
		})
		a := held()
		if w.collected(q.ID) { // the fault met the answer, not a poll before it
			refused(t, a, http.StatusForbidden, "failed")
			p.untouched()
		}
	}
	together(t, tests)
}

// collected tells whether a final answer was given, and the connection then
// dropped.
func (w *world) collected(id string) bool {
	for _, call := range w.broker.Log() {
		if call.AuthReqID == id && call.Endpoint == cibatest.EndpointToken && call.Error == "invalid_grant" {
			return true
		}
	}
	return false
}

func TestGate_refusesWithWrongCredentials(t *testing.T) {
	w := prepareWorld(t, cibatest.Config{ClientID: "client", ClientSecret: "right"})
	w.load("issuer "+w.issuer+"\nclient_id client\nclient_secret wrong-secret\ndirectory file "+w.file("users.csv"), "")
	p := w.person(t)
	unavailable(t, p.send(p.request("POST", "/auto/credentials", "x")))
	p.untouched()
	passed(t, p.send(p.request("GET", "/open", "")))
	w.logged(t, "misconfigured", "check client_id, client_secret", "invalid_client")
	if strings.Contains(w.log(), "wrong-secret") {
		t.Error("the log shows the client secret")
	}
}

// TestGate_refusesUserUnknownToBroker asks for a person that the broker does
// not know. The answer is that of a user whom nobody knows.
func TestGate_refusesUserUnknownToBroker(t *testing.T) {
	w := prepareWorld(t, cibatest.Config{KnownUUIDs: []string{userUUID(people - 1)}})
	w.load(w.appOptions(), "")
	p := w.person(t)
	a := p.send(p.request("POST", "/auto/unknown", "x"))
	refused(t, a, http.StatusForbidden, "forbidden")
	stranger := p.request("POST", "/auto/unknown", "x")
	stranger.Header.Set("Remote-User", "stranger@example.dk")
	b := p.send(stranger)
	refused(t, b, http.StatusForbidden, "forbidden")
	if a.body != b.body {
		t.Errorf("the answers tell which users exist:\n%s\n%s", a.body, b.body)
	}
	p.untouched()
}

func TestGate_expires(t *testing.T) {
	w := prepareWorld(t, cibatest.Config{ExpiresIn: 2 * time.Second})
	w.load(w.appOptions(), "")
	together(t, map[string]func(*testing.T){
		"while held": func(t *testing.T) {
			p := w.person(t)
			a := p.send(p.request("POST", "/auto/held", "x"))
			refused(t, a, http.StatusForbidden, "expired")
			p.untouched()
			p.pushed(1)
		},
		"while somebody asks for the state": func(t *testing.T) {
			p := w.person(t)
			r := p.request("POST", "/auto/status", "x")
			p.start(r)
			if state := p.awaitState(r); state != "expired" {
				t.Errorf("state is %s", state)
			}
			refused(t, p.send(p.mine(r)), http.StatusForbidden, "expired")
			p.untouched()
			p.pushed(1)
		},
	})
}

// TestGate_livesThroughReload reloads the configuration, as it is and with a
// change elsewhere, while requests are held, pending, approved and parked.
func TestGate_livesThroughReload(t *testing.T) {
	w := newWorld(t)
	held, pending, ready, parked, asking := w.person(t), w.person(t), w.person(t), w.person(t).keepCookies(), w.person(t)

	wait := held.sending(held.request("POST", "/auto/held", "held"))
	heldAs := held.phone()
	pendingRequest := pending.request("POST", "/auto/pending", "pending")
	pending.start(pendingRequest)
	readyRequest := ready.request("POST", "/auto/ready", "ready")
	ready.approved(readyRequest)
	page := parked.browse(parked.request("POST", "/auto/parked", "parked"))
	askingRequest := asking.request("POST", "/auto/asking", "asking")
	asking.start(askingRequest)
	asked := asking.sending(asking.mine(askingRequest, status))

	for _, directives := range []string{"", "respond /changed changed", "respond /changed again"} {
		w.load(w.appOptions(), directives)
	}
	if a := held.send(held.request("GET", "/changed", "")); a.body != "again" {
		t.Fatalf("the answer is %q; want that of the new configuration", a.body)
	}

	if err := w.broker.Approve(heldAs.ID); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*person{pending, parked, asking} {
		p.approve()
	}
	passed(t, wait())
	passed(t, pending.send(pending.mine(pendingRequest)))
	passed(t, ready.send(ready.mine(readyRequest)))
	passed(t, page.goesOn())
	refused(t, asked(), http.StatusOK, "approved")
	asking.client.CloseIdleConnections() // that one was the old server's
	passed(t, asking.send(asking.mine(askingRequest)))
	for path, p := range map[string]*person{
		"/auto/held": held, "/auto/pending": pending, "/auto/ready": ready, "/auto/parked": parked, "/auto/asking": asking,
	} {
		p.pushed(1)
		if got := w.upstream.arrivals(path); len(got) != 1 || got[0].body != strings.TrimPrefix(path, "/auto/") {
			t.Errorf("%s: the application saw %+v", path, got)
		}
	}
	// And once was once.
	refused(t, ready.send(ready.mine(readyRequest)), http.StatusForbidden, "spent")
}

// TestGate_worksWithAnotherProvider has a provider under another path, with
// other credentials that it takes by HTTP Basic only, and that cannot cancel.
func TestGate_worksWithAnotherProvider(t *testing.T) {
	const id, secret = "second:client", `p%ss w+rd/&=é`
	w := prepareWorld(t, cibatest.Config{
		Issuer: "/realms/second/oidc", ClientID: id, ClientSecret: secret, AuthMethods: []string{"client_secret_basic"},
	})
	t.Setenv("SECOND_SECRET", secret)
	w.load(`issuer `+w.issuer+`
		client_id `+id+`
		client_secret {env.SECOND_SECRET}
		client_auth client_secret_basic
		scope openid profile
		endpoints {
			cancel off
		}
		directory file `+w.file("users.csv"), "")
	yes, no, cancels := w.person(t), w.person(t), w.person(t).keepCookies()
	wait, waitNo := yes.sending(yes.request("POST", "/auto/yes", "x")), no.sending(no.request("POST", "/auto/no", "x"))
	yes.approve()
	no.deny()
	page := cancels.browse(cancels.request("POST", "/auto/cancel", "x"))
	cancels.phone()
	refused(t, cancels.send(page.submit("cancel")), http.StatusForbidden, "cancelled")
	passed(t, wait())
	refused(t, waitNo(), http.StatusForbidden, "denied")
	no.untouched()
	for _, call := range w.broker.Log() {
		if call.Endpoint == cibatest.EndpointCancel {
			t.Error("the gate called a cancel endpoint that is off")
		}
	}
	if strings.Contains(w.log(), secret) {
		t.Error("the log shows the client secret")
	}
}

func TestGate_refusesWhileRedisIsDown(t *testing.T) {
	server := redistest.Start(t)
	wire := newLine(t, server.Addr)
	wire.cut()
	w := prepareWorld(t, cibatest.Config{})
	// It starts without Redis.
	w.load(w.appOptions("store redis redis://"+wire.address), "")
	down := func(t *testing.T, path string) {
		p := w.person(t)
		unavailable(t, p.send(p.request("POST", path, "x")))
		unavailable(t, p.send(p.request("GET", path, "", "Step-Up-Status: 0")))
		p.untouched()
		p.pushed(0)
		passed(t, p.send(p.request("GET", "/open", "")))
	}
	together(t, map[string]func(*testing.T){
		"one-time":   func(t *testing.T) { down(t, "/auto/down") },
		"remembered": func(t *testing.T) { down(t, "/remember/down") },
	})
	w.logged(t, "approval store unavailable", "connection refused")
	wire.mend()
	w.comesBack(t, "/auto/back")

	// And goes down while one is pending, one is held, one is approved.
	pending, held, ready := w.person(t), w.person(t), w.person(t)
	pendingRequest := pending.request("POST", "/auto/pending", "x")
	pending.start(pendingRequest)
	wait := held.sending(held.request("POST", "/auto/held", "x"))
	held.phone()
	readyRequest := ready.request("POST", "/auto/ready", "x")
	ready.approved(readyRequest)
	wire.cut()
	together(t, map[string]func(*testing.T){
		"approved": func(t *testing.T) { unavailable(t, ready.send(ready.mine(readyRequest))) },
		"pending":  func(t *testing.T) { unavailable(t, pending.send(pending.mine(pendingRequest, async))) },
		"new":      func(t *testing.T) { down(t, "/auto/down2") },
	})
	ready.untouched()
	pending.approve()
	held.approve()
	wire.mend()
	passed(t, wait())
	passed(t, pending.send(pending.mine(pendingRequest)))
	passed(t, ready.send(ready.mine(readyRequest)))
	for _, p := range []*person{pending, held, ready} {
		p.pushed(1)
		if got := len(p.arrived()); got != 1 {
			t.Errorf("the application saw %d requests, want 1", got)
		}
	}
	if n := strings.Count(w.log(), `"level":"error"`); n > 60 {
		t.Errorf("%d errors are logged for two outages", n)
	}
}
