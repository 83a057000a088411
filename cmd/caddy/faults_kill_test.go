package main

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// The bounds of what a dead gateway leaves behind, as docs/operations.md states
// them, with room for a slow machine.
const (
	leaseLapses = 15*time.Second + 4*time.Second
	startLapses = 30*time.Second + 4*time.Second
	// The gateway that learns that the answer was given waits for it so long.
	answerLapses = leaseLapses + 10*time.Second
)

// death is a point of an approval's life at which a gateway dies, and what
// becomes of the approval.
type death struct {
	point string
	nth   int // of the times that the gateway comes there; 1 by default

	waits    waits
	accounts bool // the approval is to be remembered
	late     bool // the person answers only when the gateway is dead
	no       bool // the person says no
	heard    bool // the client may have its answer before the gateway dies

	end    string // state that the client is told in the end; empty: it passes
	silent bool   // the phone never rings
	lost   int    // answers of the broker that are lost
	within time.Duration
	says   string // in the log of the gateway that goes on
}

// waits is how a client waits.
type waits int

const (
	byHolding waits = iota
	byPage
	byChallenge
)

const answerLost = "its answer is lost and the person must ask again"

// deaths are in the order of an approval's life.
var deaths = []death{
	// Nothing is known of the request: it is a new one at the other gateway.
	{point: "before Touch", within: leaseLapses},
	{point: "after Touch", within: leaseLapses},
	{point: "before Schedule", within: leaseLapses},
	{point: "after Schedule", within: leaseLapses},
	{point: "before Create", within: leaseLapses},

	// It is known that somebody may have been asked, and not by which
	// auth_req_id: nobody else is asked, and it ends.
	{point: "after Create", silent: true, end: "failed", within: startLapses},
	{point: "after Take", silent: true, end: "failed", within: startLapses},
	{point: "start arrived", silent: true, end: "failed", within: startLapses},
	{point: "start answered", end: "failed", within: startLapses},
	{point: "before Change started", end: "failed", within: startLapses},
	{point: "before Change started", waits: byPage, end: "failed", within: startLapses},

	// From here on another gateway can collect the answer: when the schedule of
	// the start is due, or the new one.
	{point: "after Change started", within: startLapses},
	{point: "before Schedule", nth: 2, within: startLapses},
	// The start stands still here, the polls do not: an answer could be lost.
	{point: "after Schedule", nth: 2, late: true, within: leaseLapses},
	{point: "before Park", waits: byPage, late: true, within: leaseLapses},
	{point: "after Park", waits: byPage, late: true, within: leaseLapses},

	// Whoever waits looks what has become of it.
	{point: "before Touch", nth: 2, late: true, within: leaseLapses},
	{point: "after Touch", nth: 2, late: true, within: leaseLapses},

	// A poll under a lease.
	{point: "after Claim", within: leaseLapses},
	{point: "before Get", within: leaseLapses},
	{point: "after Get", within: leaseLapses},
	{point: "poll arrived", late: true, within: leaseLapses},
	{point: "poll answered", late: true, within: leaseLapses},
	{point: "before Extend", late: true, within: leaseLapses},
	{point: "after Extend", late: true, within: leaseLapses},

	// The broker gives its answer once.
	{point: "tokens answered", end: "failed", within: answerLapses, says: answerLost},
	{point: "before Change approve", lost: 1, end: "failed", within: answerLapses, says: answerLost},
	{point: "before Change deny", no: true, lost: 1, end: "failed", within: answerLapses, says: answerLost},
	{point: "after Change deny", no: true, heard: true, end: "denied", within: leaseLapses},
	{point: "before Block", no: true, heard: true, end: "denied", within: leaseLapses},
	{point: "after Block", no: true, heard: true, end: "denied", within: leaseLapses},
	{point: "after Change approve", heard: true, within: leaseLapses},
	{point: "after Change approve", waits: byPage, within: leaseLapses},
	{point: "after Change approve", waits: byChallenge, accounts: true, within: leaseLapses},
	{point: "before Drop", heard: true, within: leaseLapses},
	{point: "after Drop", heard: true, within: leaseLapses},

	// One use is one use, also of a gateway that dies of it.
	{point: "before Spend", nth: 2, within: leaseLapses},
	{point: "after Spend", end: "spent", within: leaseLapses},
	{point: "forwarded", end: "spent", within: leaseLapses},
	{point: "forwarded", accounts: true, within: leaseLapses},
}

func (d death) String() string {
	s := d.point
	if d.nth > 1 {
		s += fmt.Sprintf(" %d", d.nth)
	}
	switch d.waits {
	case byPage:
		s += " with a page"
	case byChallenge:
		s += " with a challenge"
	}
	if d.accounts {
		s += " of a remembered approval"
	}
	return s
}

// TestFaults_gatewayKilledAtEveryPoint kills a gateway with SIGKILL at each
// point of an approval's life. The client, whose connection dies, asks again at
// another gateway.
func TestFaults_gatewayKilledAtEveryPoint(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	// Not too many at once up to the gateway's death: what is measured is how
	// long it takes from there.
	busy := make(chan struct{}, 4)
	tests := make(map[string]func(*testing.T))
	for i, d := range deaths {
		prefix := fmt.Sprintf("life%d:", i)
		tests[d.String()] = func(t *testing.T) {
			d.happen(t, fmt.Sprintf("%s {\n prefix %s\n}", server.URL, prefix), busy)
			eventually(t, "the queue of polls to become empty", func() bool {
				left, err := client.Keys(t.Context(), prefix+"queue*").Result()
				if err != nil {
					t.Fatal(err)
				}
				return len(left) == 0
			})
		}
	}
	together(t, tests)
}

func (d death) happen(t *testing.T, store string, busy chan struct{}) {
	busy <- struct{}{}
	free := sync.OnceFunc(func() { <-busy })
	defer free()
	s := newSite(t, siteConfig{Store: "redis " + store, Gateways: -1})
	first := s.gateway(t, gatewayConfig{Store: "stopping " + store})
	first.ready(t)
	p := s.person(t)
	ask := p.transfer
	if d.accounts {
		ask = p.accounts
	}
	a := ask()

	stop := s.stops.arm(first, d.point, max(d.nth, 1))
	held := make(chan answer, 1)
	header := map[waits][]string{byPage: browser, byChallenge: {"Prefer: respond-async"}}[d.waits]
	go func() { held <- a.send(t.Context(), first, header...) }()
	d.decideUntil(t, a, !d.late, stop.reached)

	// The other gateway is there already when this one dies.
	second := s.gateway(t, gatewayConfig{})
	second.ready(t)
	died := time.Now()
	first.kill()
	free()
	switch got := <-held; {
	case d.heard && (got.passed() || got.state == "denied"):
		s.check(t, 0).state(t, "gateway killed "+d.String(), 0)
		return
	case got.err == nil && (d.waits == byHolding || got.state != "pending"):
		t.Errorf("a gateway that was killed has answered %v", got)
	}

	var got answer
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if d.waits == byPage && d.late {
			a.page(second)
		}
		got = a.finish(second)
	}()
	d.decideUntil(t, a, true, ended)

	took := time.Since(died)
	if took > d.within {
		t.Errorf("the client had its answer after %v, want %v at most", took, d.within)
	}
	if rang := len(a.pushes()); rang > 1 || d.silent == (rang > 0) {
		t.Errorf("the phone rang %d times", rang)
	}
	switch {
	case d.end == "":
		a.mustPass(got)
	case got.state != d.end:
		t.Errorf("answer is %v %s, want %s", got, got.body, d.end)
	}
	if d.says != "" {
		second.says(t, d.says)
	}
	s.check(t, d.lost).state(t, "gateway killed "+d.String(), took)
	if d.end == "failed" && d.waits == byHolding {
		// Whoever still wants it asks again, and has it.
		d.no = false
		a.restart(second, got)
		again := make(chan struct{})
		go func() {
			defer close(again)
			got = a.finish(second)
		}()
		d.decideUntil(t, a, true, again)
		a.mustPass(got)
		s.check(t, d.lost)
	}
}

// decideUntil has the person answer what comes to the phone, if they look at
// it, until something else happens.
func (d death) decideUntil(t *testing.T, a *act, looks bool, done <-chan struct{}) {
	t.Helper()
	eventually(t, "the gateway to come to the point, or the client to its answer", func() bool {
		select {
		case <-done:
			return true
		default:
		}
		for _, q := range a.pushes() {
			switch {
			case !looks || q.State != cibatest.StateWaiting:
			case !d.no:
				a.broker.approve(t, q.ID)
			case a.broker.Deny(q.ID) != nil:
				t.Error("the person cannot say no")
			}
		}
		return false
	})
}

// TestFaults_gatewayKilledWhileAFormGoesOn kills a gateway that is about to send
// on a form that was parked under an approval for other requests as well. The
// form goes on at another gateway or not at all: never twice.
func TestFaults_gatewayKilledWhileAFormGoesOn(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	tests := make(map[string]func(*testing.T))
	for i, point := range []string{"before Parked", "after Parked", "before Unpark", "after Unpark", "forwarded"} {
		store := fmt.Sprintf("%s {\n prefix form%d:\n}", server.URL, i)
		tests[point] = func(t *testing.T) {
			s := newSite(t, siteConfig{Store: "redis " + store, Gateways: 1})
			first := s.gateway(t, gatewayConfig{Store: "stopping " + store})
			first.ready(t)
			second := s.gateways[0]
			a := s.person(t).accounts()
			a.method, a.body = http.MethodPost, "close=1"
			a.page(first)
			a.approve()
			a.awaitApproved(second)

			stop := s.stops.arm(first, point, 1)
			killed := a.hold(first)
			await(t, stop.reached)
			first.kill()
			if got := <-killed; got.err == nil {
				t.Errorf("a gateway that was killed has answered %v", got)
			}
			switch got := a.ask(second); point {
			case "after Unpark", "forwarded":
				a.mustBeGone(got)
			default:
				a.mustPass(got)
			}
			s.check(t, 0).state(t, "gateway killed "+point+" of a form", 0)
			if point == "after Unpark" {
				if n := len(a.reached()); n > 0 {
					t.Errorf("the application saw %d requests", n)
				}
				a.handle = "" // the person sends the form again
				a.mustPass(a.ask(second))
			} else {
				a.mustBeGone(a.ask(second))
			}
			a.passedOnce()
			s.check(t, 0)
		}
	}
	together(t, tests)
}
