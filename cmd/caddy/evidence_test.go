package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// evidence is what was seen of a site: by the broker, by the application and by
// the clients.
type evidence struct {
	interval time.Duration
	calls    []call
	requests []cibatest.Request
	approved map[string]time.Time
	arrivals []arrival
	acts     []claim

	// lost is how many answers of the broker may have been lost: then one poll
	// comes after the last answer, and learns only that it was given.
	lost int
}

// claim is what an act was about.
type claim struct {
	id         string
	wills      int // how often the person wanted to be asked
	remembered bool
	asking     int
	faults     []string
}

// findings are the rules that were broken.
func (e evidence) findings() []string {
	var found []string
	report := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	e.checkArrivals(report)
	e.checkPolls(report)
	e.checkPushes(report)
	for _, a := range e.acts {
		if a.asking > 0 {
			report("%s: %d clients wait for an answer", a.id, a.asking)
		}
		for _, f := range a.faults {
			report("%s: %s", a.id, f)
		}
	}
	return found
}

// checkArrivals wants an approval that its person gave before, for all that
// has reached the application, and for every one-time approval one request.
func (e evidence) checkArrivals(report func(string, ...any)) {
	byApproval := make(map[string]cibatest.Request)
	for _, q := range e.requests {
		byApproval[q.ReferenceID] = q
	}
	used := make(map[string]int)
	for _, r := range e.arrivals {
		if r.path == "/public" {
			continue
		}
		i := slices.IndexFunc(e.acts, func(a claim) bool {
			if a.remembered {
				return strings.HasPrefix(r.path, "/accounts/") && strings.Contains(byApproval[r.approval].Text, a.id)
			}
			return strings.HasSuffix(r.body, "to="+a.id)
		})
		if i < 0 {
			report("%s: forwarded without an approval of any act", r.path)
			continue
		}
		a := e.acts[i]
		q, ok := byApproval[r.approval]
		said, yes := e.approved[q.ID]
		switch {
		case !ok:
			report("%s: forwarded with an approval that nobody was asked for", a.id)
			continue
		case !strings.Contains(q.Text, a.id):
			report("%s: forwarded with the approval of another request", a.id)
		case !strings.EqualFold(q.UUID, r.uuid):
			report("%s: forwarded with the approval of another person", a.id)
		case !yes || r.at.Before(said):
			report("%s: forwarded before the person said yes", a.id)
		}
		if used[r.approval]++; used[r.approval] == 2 && !a.remembered {
			report("%s: forwarded twice", a.id)
		}
	}
}

// checkPolls wants polls one at a time, an interval apart, and none after the
// last answer.
func (e evidence) checkPolls(report func(string, ...any)) {
	last := make(map[string]call) // by auth_req_id
	lost := 0
	for _, c := range e.calls {
		if c.code == "slow_down" {
			report("the broker had to say slow_down")
		}
		if c.id == "" || c.start && c.status == 0 {
			continue
		}
		before, polled := last[c.id]
		last[c.id] = c
		if !polled {
			if !c.start {
				report("a poll came for a start that was not answered")
			}
			continue
		}
		switch pause := c.started.Sub(before.ended); {
		case before.ended.IsZero() || pause < 0:
			report("a poll came before the answer to the last call")
		case pause < e.interval:
			report("a poll came %v after the last answer, want %v", pause, e.interval)
		}
		switch {
		case before.start || !before.final():
		case c.code == "invalid_grant" && lost < e.lost:
			lost++
		default:
			report("a poll came after the last answer")
		}
	}
}

// checkPushes wants at most one start per act of will.
func (e evidence) checkPushes(report func(string, ...any)) {
	for _, a := range e.acts {
		starts := 0
		for _, c := range e.calls {
			if c.start && strings.Contains(c.text, a.id) {
				starts++
			}
		}
		if starts > a.wills {
			report("%s: the phone was rung %d times", a.id, starts)
		}
	}
}

// TestEvidence_showsEveryFault breaks each rule, and wants it to be found.
func TestEvidence_showsEveryFault(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	at := func(seconds float64) time.Time { return begin.Add(time.Duration(seconds * float64(time.Second))) }
	good := func() evidence {
		return evidence{
			interval: time.Second,
			calls: []call{
				{start: true, id: "q", text: "Transfer 100 to T-1", started: at(0), ended: at(0.1), status: 200},
				{id: "q", started: at(1.2), ended: at(1.3), status: 400, code: "authorization_pending"},
				{id: "q", started: at(2.4), ended: at(2.5), status: 200, tokens: true},
			},
			requests: []cibatest.Request{{ID: "q", ReferenceID: "approval", UUID: "u", Text: "Transfer 100 to T-1"}},
			approved: map[string]time.Time{"q": at(2)},
			arrivals: []arrival{{at: at(2.6), path: "/transfers/T-1", body: "amount=100&to=T-1", uuid: "u", approval: "approval"}},
			acts:     []claim{{id: "T-1", wills: 1}},
		}
	}
	if found := good().findings(); len(found) > 0 {
		t.Fatalf("found %q where nothing is wrong", found)
	}
	spent := call{id: "q", started: at(4), ended: at(4.1), status: 400, code: "invalid_grant"}
	forgiven := good()
	forgiven.calls, forgiven.lost = append(forgiven.calls, spent), 1
	if found := forgiven.findings(); len(found) > 0 {
		t.Errorf("found %q where an answer may be lost", found)
	}
	for want, spoil := range map[string]func(*evidence){
		"without an approval":                 func(e *evidence) { e.arrivals[0].body = "amount=100&to=T-2" },
		"nobody was asked for":                func(e *evidence) { e.arrivals[0].approval = "other" },
		"of another request":                  func(e *evidence) { e.requests[0].Text = "Transfer 100 to T-2" },
		"of another person":                   func(e *evidence) { e.requests[0].UUID = "v" },
		"before the person said yes":          func(e *evidence) { e.approved["q"] = at(2.7) },
		"forwarded twice":                     func(e *evidence) { e.arrivals = append(e.arrivals, e.arrivals[0]) },
		"say slow_down":                       func(e *evidence) { e.calls[1].code = "slow_down" },
		"for a start that was not answered":   func(e *evidence) { e.calls = e.calls[1:] },
		"before the answer to the last call":  func(e *evidence) { e.calls[1].ended = at(2.45) },
		"after the last answer, want":         func(e *evidence) { e.calls[2].started = at(2.2) },
		"a poll came after the last answer":   func(e *evidence) { e.calls = append(e.calls, spent) },
		"rung 2 times":                        func(e *evidence) { e.calls = append(e.calls, call{start: true, text: "Transfer 100 to T-1"}) },
		"1 clients wait":                      func(e *evidence) { e.acts[0].asking = 1 },
		"no answer: connection reset by peer": func(e *evidence) { e.acts[0].faults = []string{"no answer: connection reset by peer"} },
	} {
		e := good()
		spoil(&e)
		if found := e.findings(); len(found) != 1 || !strings.Contains(found[0], want) {
			t.Errorf("found %q, want only %q", found, want)
		}
	}
}
