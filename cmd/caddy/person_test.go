package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// person is a user of a site, with a client and an address of their own.
type person struct {
	*site
	testing.TB
	number  int
	session string
	client  *http.Client
}

func newPerson(t testing.TB, s *site, number int) *person {
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	return &person{s, t, number, "", &http.Client{Transport: transport, Timeout: patience}}
}

// act is something that a person wants: a request that is to reach the
// application, once or, with remember, any number of times.
type act struct {
	*person
	id           string // is in the text on the phone
	method, path string
	body         string
	remembered   bool
	probe        bool   // of normal
	handle       string // of the approval, where a page waits

	mu     sync.Mutex
	wills  int    // how often the person wanted to be asked
	last   answer // that a client got
	asking int    // requests that have no answer yet
	faults []string
	cut    int // requests whose gateway died
}

// transfer is an act that needs an approval of its own.
func (p *person) transfer() *act {
	a := &act{person: p, wills: 1, method: http.MethodPost}
	p.site.mu.Lock()
	defer p.site.mu.Unlock()
	a.id = fmt.Sprintf("T-%06d", len(p.acts))
	a.path, a.body = "/transfers/"+a.id, "amount=100&to="+a.id
	p.acts = append(p.acts, a)
	return a
}

// accounts is an act whose approval is remembered.
func (p *person) accounts() *act {
	a := &act{person: p, wills: 1, method: http.MethodGet, id: userName(p.number), path: "/accounts/" + strconv.Itoa(p.number), remembered: true}
	p.site.mu.Lock()
	defer p.site.mu.Unlock()
	p.acts = append(p.acts, a)
	return a
}

// answer is what a client was answered, or why it was not.
type answer struct {
	status     int
	state      string // of Step-Up-State; empty for the application's answers
	session    string
	retryAfter time.Duration
	body       string
	took       time.Duration
	err        error
}

func (a answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	return strings.TrimSpace(fmt.Sprint(a.status, " ", a.state))
}

// passed tells whether it is the application's answer.
func (a answer) passed() bool {
	return a.err == nil && a.status == http.StatusOK && a.state == "" && a.body == upstreamAnswer
}

// form is what goes on from a page.
const form = "application/x-www-form-urlencoded"

// send sends the act's request to a gateway. Header lines are added.
func (a *act) send(ctx context.Context, g *gateway, header ...string) answer {
	body := a.body
	if a.handle != "" {
		body = "step_up=continue&step_up_approval=" + a.handle
	}
	return a.do(ctx, g, a.method, body, header...)
}

// do is send for any method and body.
func (a *act) do(ctx context.Context, g *gateway, method, body string, header ...string) answer {
	a.mu.Lock()
	a.asking++
	session := a.session
	a.mu.Unlock()
	started := time.Now()
	got := a.exchange(ctx, g, session, method, body, header...)
	got.took = time.Since(started)

	a.mu.Lock()
	defer a.mu.Unlock()
	a.asking--
	switch {
	case got.err == nil:
		a.last = got
		if got.status != http.StatusOK && got.state == "" {
			a.faults = append(a.faults, fmt.Sprintf("answer %d is nobody's", got.status))
		}
		if a.session == "" {
			a.session = got.session
		}
	case errors.Is(got.err, context.Canceled), errors.Is(got.err, syscall.ECONNREFUSED):
		// The client went, or the gateway had gone before.
	case g.wasKilled():
		a.cut++
	default:
		a.faults = append(a.faults, "no answer: "+got.err.Error())
	}
	return got
}

// answered is the last answer that a client got.
func (a *act) answered() answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

func (a *act) exchange(ctx context.Context, g *gateway, session, method, body string, header ...string) answer {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+g.address+a.path, strings.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	r.Host = "bank.example" // as a load balancer passes it on
	r.Header.Set("Remote-User", userName(a.number))
	r.Header.Set("X-Forwarded-For", fmt.Sprintf("198.18.%d.%d", a.number/250, 1+a.number%250))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", form)
	}
	if session != "" {
		r.Header.Set("Step-Up-Session", session)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	resp, err := a.client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	return answer{
		status:     resp.StatusCode,
		state:      resp.Header.Get("Step-Up-State"),
		session:    resp.Header.Get("Step-Up-Session"),
		retryAfter: time.Duration(seconds) * time.Second,
		body:       string(content),
		err:        err,
	}
}

// ask is send for requests that must be answered.
func (a *act) ask(g *gateway, header ...string) answer {
	a.Helper()
	got := a.send(a.Context(), g, header...)
	if got.err != nil {
		a.Fatal(got.err)
	}
	return got
}

// hold sends the request and leaves it with the gateway; the answer comes by
// the channel.
func (a *act) hold(g *gateway) <-chan answer {
	answers := make(chan answer, 1)
	go func() { answers <- a.send(a.Context(), g) }()
	return answers
}

// challenge gets a challenge, and the session.
func (a *act) challenge(g *gateway) {
	a.Helper()
	if got := a.ask(g, "Prefer: respond-async"); got.status != http.StatusUnauthorized || got.state != "pending" {
		a.Fatalf("answer is %v %s, want a challenge", got, got.body)
	}
}

// browser are the headers of a form that is sent from the site's own page.
var browser = []string{"Accept: text/html", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: same-origin"}

var pageHandle = regexp.MustCompile(`data-handle="([^"]+)"`)

// page gets the waiting page as a browser does; the act goes on from there.
func (a *act) page(g *gateway) {
	a.Helper()
	got := a.ask(g, browser...)
	found := pageHandle.FindStringSubmatch(got.body)
	if got.state != "pending" || found == nil {
		a.Fatalf("answer is %v %s, want a waiting page", got, got.body)
	}
	if a.method == http.MethodPost {
		a.handle = found[1]
	}
}

// status asks for the state, which is to come within so many seconds.
func (a *act) status(ctx context.Context, g *gateway, seconds int) answer {
	header := []string{"Step-Up-Status: " + strconv.Itoa(seconds)}
	if a.handle != "" {
		return a.do(ctx, g, http.MethodGet, "", append(header, "Step-Up-Approval: "+a.handle)...)
	}
	return a.do(ctx, g, a.method, a.body, header...)
}

// awaitApproved asks a gateway for the state until the answer is there.
func (a *act) awaitApproved(g *gateway) {
	a.Helper()
	eventually(a, "the answer of the phone", func() bool {
		got := a.status(a.Context(), g, 25)
		if got.status != http.StatusOK || got.state != "pending" && got.state != "approved" {
			a.Fatalf("asked for the state: %v %s", got, got.body)
		}
		return got.state == "approved"
	})
}

// finish does what a patient client does: it asks for the state while that is
// pending, waits while a gateway is in trouble, goes to the next gateway when
// one has gone, and sends the request again, until it has passed or the gate
// has said that it will not. After 503 with a Retry-After of half a minute
// nothing goes on by itself: that is an end as well.
func (a *act) finish(gateways ...*gateway) answer {
	a.Helper()
	var got answer
	next := 0
	eventually(a, "an end of "+a.id, func() bool {
		g := gateways[next%len(gateways)]
		if got = a.send(a.Context(), g, "Prefer: respond-async"); got.err == nil && got.state == "pending" {
			if s := a.status(a.Context(), g, 5); s.err != nil || s.status != http.StatusOK {
				next++
			}
			return false
		}
		if got.err != nil || got.state == "unavailable" && got.retryAfter < 30*time.Second {
			next++
			return false
		}
		return true
	})
	return got
}

// restart is the person who, told that an approval has ended, wants another one.
func (a *act) restart(g *gateway, ended answer) {
	a.Helper()
	var document struct{ Approval struct{ ID string } }
	if err := json.Unmarshal([]byte(ended.body), &document); err != nil || document.Approval.ID == "" {
		a.Fatalf("answer is %v %s, want the approval that ended", ended, ended.body)
	}
	a.mu.Lock()
	a.wills++
	a.mu.Unlock()
	if got := a.ask(g, "Prefer: respond-async", "Step-Up-Restart: "+document.Approval.ID); got.state != "pending" {
		a.Fatalf("answer is %v %s, want a challenge", got, got.body)
	}
}

// comeBack is the client that was told to come back later, and does until it may
// start anew: that is another act of will.
func (a *act) comeBack(g *gateway) {
	a.Helper()
	a.mu.Lock()
	a.wills++
	a.mu.Unlock()
	eventually(a, "the request to start anew", func() bool { return a.ask(g, "Prefer: respond-async").state == "pending" })
}

// approveWaiting says yes to what is on the person's phone for this act, if
// anything is.
func (a *act) approveWaiting() {
	a.Helper()
	for _, q := range a.pushes() {
		if q.State == cibatest.StateWaiting {
			a.broker.approve(a, q.ID)
		}
	}
}

// pushes are the requests for this act on the person's phone.
func (a *act) pushes() []cibatest.Request {
	return slices.DeleteFunc(a.broker.Requests(), func(q cibatest.Request) bool { return !strings.Contains(q.Text, a.id) })
}

// push is the request on the person's phone. There must be one, ever.
func (a *act) push() cibatest.Request {
	a.Helper()
	var found []cibatest.Request
	eventually(a, "a request on the phone", func() bool {
		found = a.pushes()
		return len(found) > 0
	})
	if len(found) > 1 {
		a.Fatalf("the phone rang %d times", len(found))
	}
	return found[0]
}

// approve is the person who says yes on the phone.
func (a *act) approve() {
	a.Helper()
	a.broker.approve(a, a.push().ID)
}

// reached are the requests of this act that the application saw.
func (a *act) reached() []arrival {
	return slices.DeleteFunc(a.upstream.all(), func(r arrival) bool { return r.path != a.path })
}

// passedOnce checks that the application saw the request, whole and once.
func (a *act) passedOnce() {
	a.Helper()
	if got := a.reached(); len(got) != 1 || got[0].body != a.body {
		a.Errorf("the application saw %d requests, want this one once", len(got))
	}
	a.push()
}

func (a *act) mustPass(got answer) {
	a.Helper()
	if !got.passed() {
		a.Errorf("answer is %v %s, want the application's", got, got.body)
	}
}

func (a *act) mustBeSpent(got answer) {
	a.Helper()
	if got.status != http.StatusForbidden || got.state != "spent" {
		a.Errorf("answer is %v, want 403 spent", got)
	}
}

// mustBeGone checks the answer to a form that is not parked any more.
func (a *act) mustBeGone(got answer) {
	a.Helper()
	if got.status != http.StatusForbidden || got.state != "none" {
		a.Errorf("answer is %v %s, want 403 none", got, got.body)
	}
}
