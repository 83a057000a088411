package caddymodule_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// person is a user with a phone, at a program or a browser.
type person struct {
	*world
	testing.TB
	name, uuid, ip string
	session        string // the token, once the gate has given one
	client         *http.Client
}

// person returns somebody who has not been here before.
func (w *world) person(t testing.TB) *person {
	t.Helper()
	i := int(w.people.Add(1)) - 1
	if i >= people {
		t.Fatal("too few people in the directory")
	}
	p := &person{
		world: w, TB: t,
		name: userName(i), uuid: userUUID(i),
		ip: fmt.Sprintf("203.0.%d.%d", 100+i/200, 1+i%200),
	}
	w.note(&w.personal, []string{p.name, p.uuid})
	transport := &http.Transport{
		DisableCompression:    true,
		ExpectContinueTimeout: patience,
		MaxIdleConnsPerHost:   100,
	}
	t.Cleanup(transport.CloseIdleConnections)
	p.client = &http.Client{
		Transport:     transport,
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return p
}

// keepCookies makes the client one that has cookies, as browsers do.
func (p *person) keepCookies() *person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		p.TB.Fatal(err)
	}
	p.client.Jar = jar
	return p
}

// request makes a request of the person's to the gate. Headers are given as
// "Name: value".
func (p *person) request(method, path, body string, header ...string) *http.Request {
	p.TB.Helper()
	return p.requestTo("http://"+p.gate, method, path, body, header...)
}

func (p *person) requestTo(base, method, path, body string, header ...string) *http.Request {
	p.TB.Helper()
	r, err := http.NewRequestWithContext(p.TB.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		p.TB.Fatal(err)
	}
	r.Header.Set("Remote-User", p.name)
	r.Header.Set("X-Forwarded-For", p.ip)
	if p.session != "" {
		r.Header.Set("Step-Up-Session", p.session)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Add(name, value)
	}
	return r
}

// again is the same request once more, with headers added.
func again(r *http.Request, header ...string) *http.Request {
	c := r.Clone(r.Context())
	if r.GetBody != nil {
		c.Body, _ = r.GetBody()
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		c.Header.Add(name, value)
	}
	return c
}

// The headers of a request that is to be answered at once, of one that asks
// for the state only, and of bodies.
const (
	async    = "Prefer: respond-async"
	status   = "Step-Up-Status: 25"
	formType = "Content-Type: application/x-www-form-urlencoded"
	jsonType = "Content-Type: application/json"
)

// answer is what a client was answered.
type answer struct {
	status int
	proto  int
	header http.Header
	body   string
}

// document is a problem document or a state, as clients read it.
type document struct {
	Type, Title, Detail, Field string
	Status                     int
	approvalDocument
	Approval *approvalDocument
}

type approvalDocument struct {
	ID, State, Text, Code string
	ExpiresAt             time.Time `json:"expires_at"`
}

func (a answer) document(t testing.TB) document {
	t.Helper()
	var d document
	if err := json.Unmarshal([]byte(a.body), &d); err != nil {
		t.Fatalf("answer %d is no document: %v\n%s", a.status, err, a.body)
	}
	return d
}

// do sends a request and returns the answer. It may be called by any
// goroutine.
func (p *person) do(r *http.Request) (answer, error) {
	resp, err := p.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	p.secret(resp.Header.Get("Step-Up-Session"))
	for _, c := range resp.Cookies() {
		p.secret(c.Value)
	}
	return answer{resp.StatusCode, resp.ProtoMajor, resp.Header, string(body)}, nil
}

// send is do for requests that must be answered.
func (p *person) send(r *http.Request) answer {
	p.TB.Helper()
	a, err := p.do(r)
	if err != nil {
		p.TB.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	return a
}

// sending is send in the background, for requests that are held.
func (p *person) sending(r *http.Request) (wait func() answer) {
	type result struct {
		answer
		error
	}
	done := make(chan result, 1)
	go func() {
		a, err := p.do(r)
		done <- result{a, err}
	}()
	return func() answer {
		p.TB.Helper()
		got := <-done // the client has a time-out
		if got.error != nil {
			p.TB.Fatalf("%s %s: %v", r.Method, r.URL.Path, got.error)
		}
		return got.answer
	}
}

// start sends a request that must get a challenge, and keeps the session.
func (p *person) start(r *http.Request) document {
	p.TB.Helper()
	a := p.send(again(r, async))
	if a.status != http.StatusUnauthorized || a.header.Get("Step-Up-State") != "pending" {
		p.TB.Fatalf("%s %s: answer is %d %s %s, want a challenge", r.Method, r.URL.Path, a.status, a.header.Get("Step-Up-State"), a.body)
	}
	if token := a.header.Get("Step-Up-Session"); token != "" {
		p.session = token
	}
	d := a.document(p.TB)
	p.secret(d.Approval.Text)
	p.secretCode(d.Approval.Code)
	return d
}

// mine adds the person's session to a request.
func (p *person) mine(r *http.Request, header ...string) *http.Request {
	r = again(r, header...)
	r.Header.Set("Step-Up-Session", p.session)
	return r
}

// pushes are the requests that the person's phone has shown.
func (p *person) pushes() []cibatest.Request {
	return slices.DeleteFunc(p.broker.Requests(), func(q cibatest.Request) bool { return q.UUID != p.uuid })
}

// phone waits until the phone shows a request.
func (p *person) phone() (shown cibatest.Request) {
	p.TB.Helper()
	eventually(p.TB, "a request on the phone", func() bool {
		for _, q := range p.pushes() {
			if q.State == cibatest.StateWaiting {
				shown = q
				return true
			}
		}
		return false
	})
	p.secret(shown.ID, shown.Text)
	return shown
}

func (p *person) approve() cibatest.Request {
	p.TB.Helper()
	q := p.phone()
	if err := p.broker.Approve(q.ID); err != nil {
		p.TB.Fatal(err)
	}
	return q
}

func (p *person) deny() {
	p.TB.Helper()
	if err := p.broker.Deny(p.phone().ID); err != nil {
		p.TB.Fatal(err)
	}
}

// awaitState asks for the state of a request until it is another one than
// pending, and returns it.
func (p *person) awaitState(r *http.Request) string {
	p.TB.Helper()
	var state string
	eventually(p.TB, "an answer of the phone", func() bool {
		a := p.send(p.mine(r, status))
		if a.status != http.StatusOK {
			p.TB.Fatalf("asked for the state: %d %s", a.status, a.body)
		}
		state = a.document(p.TB).State
		if state != a.header.Get("Step-Up-State") {
			p.TB.Fatalf("state is %s in the body and %s in the header", state, a.header.Get("Step-Up-State"))
		}
		return state != "pending"
	})
	return state
}

// approved brings a request to the point where it may pass, and has not.
func (p *person) approved(r *http.Request) document {
	p.TB.Helper()
	d := p.start(r)
	p.approve()
	if state := p.awaitState(r); state != "approved" {
		p.TB.Fatalf("state is %s, want approved", state)
	}
	return d
}

// passed checks that an answer is the application's.
func passed(t testing.TB, a answer) {
	t.Helper()
	if a.status != http.StatusOK || a.body != upstreamAnswer {
		t.Errorf("answer is %d %q, want the application's", a.status, a.body)
	}
}

// refused checks that an answer is the gate's, with this status and state.
func refused(t testing.TB, a answer, status int, state string) {
	t.Helper()
	if a.status != status || a.header.Get("Step-Up-State") != state {
		t.Errorf("answer is %d with state %q, want %d with %q\n%.300s", a.status, a.header.Get("Step-Up-State"), status, state, a.body)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q, want no-store", got)
	}
}

// reached checks how many requests to a path the application saw.
func (p *person) reached(path string, want int) {
	p.TB.Helper()
	if got := len(p.upstream.arrivals(path)); got != want {
		p.TB.Errorf("the application saw %d requests to %s, want %d", got, path, want)
	}
}

// arrived are the requests of the person that the application saw.
func (p *person) arrived() []arrival {
	p.upstream.mu.Lock()
	defer p.upstream.mu.Unlock()
	var found []arrival
	for _, a := range p.upstream.requests {
		if a.header.Get("Remote-User") == p.name {
			found = append(found, a)
		}
	}
	return found
}

// untouched checks that the application has seen nothing of the person.
func (p *person) untouched() {
	p.TB.Helper()
	for _, a := range p.arrived() {
		p.TB.Errorf("the application saw %s %s", a.method, a.uri)
	}
}

// pushed checks how often the person's phone rang.
func (p *person) pushed(want int) {
	p.TB.Helper()
	if got := len(p.pushes()); got != want {
		p.TB.Errorf("the phone rang %d times, want %d", got, want)
	}
}

// overTLS makes the client one that speaks HTTP/2 to the site with TLS.
func (p *person) overTLS() *person {
	t := p.client.Transport.(*http.Transport)
	t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // the authority is this Caddy's own
	t.ForceAttemptHTTP2 = true
	t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, p.secure)
	}
	return p
}

// secureBase is the site with TLS.
func (w *world) secureBase() string {
	_, port, _ := net.SplitHostPort(w.secure)
	return "https://localhost:" + port
}

// cookies are what the client has for a site.
func (p *person) cookies(base string) []*http.Cookie {
	u, err := url.Parse(base)
	if err != nil {
		p.TB.Fatal(err)
	}
	return p.client.Jar.Cookies(u)
}
