package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// patience bounds every wait of these tests.
const patience = 60 * time.Second

// interval is the broker's.
const interval = time.Second

// site is two gateways on one Redis, in processes of their own, in front of one
// application.
type site struct {
	a, b     *gateway
	broker   *cibatest.Server
	upstream *upstream
	issuer   string
	redis    string
	dir      string
}

const people = 64

func userName(i int) string { return fmt.Sprintf("user-%03d", i) }
func userUUID(i int) string { return fmt.Sprintf("%08x-5afe-4bad-8fad-0123456789ab", 0xc0de0000+i) }

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{upstream: newUpstream(t), redis: redistest.Start(t).URL, dir: t.TempDir()}
	server := httptest.NewUnstartedServer(nil)
	s.issuer = "http://" + server.Listener.Addr().String() + "/op"
	broker, err := cibatest.New(cibatest.Config{Issuer: s.issuer, Interval: interval})
	if err != nil {
		t.Fatal(err)
	}
	s.broker, server.Config.Handler = broker, broker
	server.Start()
	t.Cleanup(server.Close)
	var users strings.Builder
	for i := range people {
		fmt.Fprintf(&users, "%s,%s\n", userName(i), userUUID(i))
	}
	if err := os.WriteFile(filepath.Join(s.dir, "users.csv"), []byte(users.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s.a, s.b = s.gateway(t), s.gateway(t)
	s.a.ready(t)
	s.b.ready(t)
	return s
}

// gateway is one process.
type gateway struct {
	address string
	cmd     *exec.Cmd
	ended   chan struct{} // closed when the process has
	log     string        // file
}

// gateway starts a process.
func (s *site) gateway(t *testing.T) *gateway {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	file := filepath.Join(s.dir, "Caddyfile-"+port)
	config := fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	grace_period 20s
	servers {
		trusted_proxies static 127.0.0.0/8
	}
	step_up {
		issuer {env.STEP_UP_ISSUER}
		client_id {env.STEP_UP_CLIENT_ID}
		client_secret {env.STEP_UP_CLIENT_SECRET}
		store redis {env.STEP_UP_REDIS}
		directory file users.csv
	}
}

http://:%s {
	bind 127.0.0.1
	step_up /transfers/* {
		user {http.request.header.Remote-User}
	}
	reverse_proxy %s
}
`, port, s.upstream.address)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	g := &gateway{address: address, ended: make(chan struct{}), log: file + ".log"}
	g.cmd = command(t, append(slices.Clone(exampleEnv), "STEP_UP_ISSUER="+s.issuer, "STEP_UP_REDIS="+s.redis),
		"run", "--config", file, "--adapter", "caddyfile")
	g.cmd.Dir = s.dir
	output, err := os.Create(g.log)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	g.cmd.Stdout, g.cmd.Stderr = output, output
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = g.cmd.Wait()
		close(g.ended)
	}()
	t.Cleanup(func() {
		g.kill()
		if log, err := os.ReadFile(g.log); err == nil && (t.Failed() || strings.Contains(string(log), "DATA RACE")) {
			t.Errorf("log of the gateway at %s:\n%s", g.address, log)
		}
	})
	return g
}

// ready waits until the gateway answers.
func (g *gateway) ready(t *testing.T) {
	t.Helper()
	eventually(t, "a gateway to listen", func() bool {
		select {
		case <-g.ended:
			t.Fatal("a gateway ended early")
		default:
		}
		conn, err := net.Dial("tcp", g.address)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

// kill ends the process as a crash would.
func (g *gateway) kill() {
	_ = g.cmd.Process.Kill()
	<-g.ended
}

// eventually waits for a condition that gives no other sign.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !condition() {
		select {
		case <-again.C:
		case <-deadline.C:
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

const upstreamAnswer = "the application's answer"

// upstream is the application behind the gateways.
type upstream struct {
	address string

	mu     sync.Mutex
	bodies map[string][]string // by path
}

func newUpstream(t testing.TB) *upstream {
	u := &upstream{bodies: make(map[string][]string)}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		u.mu.Lock()
		u.bodies[r.URL.Path] = append(u.bodies[r.URL.Path], string(body))
		u.mu.Unlock()
		io.WriteString(w, upstreamAnswer)
	}))
	t.Cleanup(s.Close)
	u.address = s.Listener.Addr().String()
	return u
}

func (u *upstream) reached(path string) []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.bodies[path])
}

// person is a user of the site, with an address and a path of their own.
type person struct {
	*site
	testing.TB
	number  int
	session string
	client  *http.Client
}

func (s *site) person(t *testing.T, number int) *person {
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	return &person{s, t, number, "", &http.Client{Transport: transport, Timeout: patience}}
}

func (p *person) path() string { return fmt.Sprintf("/transfers/%d", p.number) }
func (p *person) body() string { return fmt.Sprintf("amount=%d", p.number) }

// answer is what a client was answered.
type answer struct {
	status         int
	state, session string
	body           string
}

// send sends the person's one request, to either gateway.
func (p *person) send(ctx context.Context, g *gateway, header ...string) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.address+p.path(), strings.NewReader(p.body()))
	if err != nil {
		return answer{}, err
	}
	r.Host = "bank.example" // as a load balancer passes it on
	r.Header.Set("Remote-User", userName(p.number))
	r.Header.Set("X-Forwarded-For", fmt.Sprintf("203.0.113.%d", 1+p.number))
	if p.session != "" {
		r.Header.Set("Step-Up-Session", p.session)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get("Step-Up-State"), resp.Header.Get("Step-Up-Session"), string(body)}, err
}

// ask is send for requests that must be answered.
func (p *person) ask(g *gateway, header ...string) answer {
	p.Helper()
	a, err := p.send(p.Context(), g, header...)
	if err != nil {
		p.Fatal(err)
	}
	return a
}

// start gets a challenge and the session.
func (p *person) start(g *gateway) {
	p.Helper()
	a := p.ask(g, "Prefer: respond-async")
	if a.status != http.StatusUnauthorized || a.state != "pending" {
		p.Fatalf("answer is %d %s %s, want a challenge", a.status, a.state, a.body)
	}
	if a.session != "" {
		p.session = a.session
	}
}

// push is the request on the person's phone. There must be one, ever.
func (p *person) push() cibatest.Request {
	p.Helper()
	var found []cibatest.Request
	eventually(p, "a request on the phone", func() bool {
		found = slices.DeleteFunc(p.broker.Requests(), func(q cibatest.Request) bool { return q.UUID != userUUID(p.number) })
		return len(found) > 0
	})
	if len(found) > 1 {
		p.Fatalf("the phone rang %d times", len(found))
	}
	return found[0]
}

func (p *person) approve() {
	p.Helper()
	if err := p.broker.Approve(p.push().ID); err != nil {
		p.Fatal(err)
	}
}

// awaitApproved asks a gateway for the state until the answer is there.
func (p *person) awaitApproved(g *gateway) {
	p.Helper()
	eventually(p, "the answer of the phone", func() bool {
		a := p.ask(g, "Step-Up-Status: 25")
		var d struct{ State string }
		if a.status != http.StatusOK || json.Unmarshal([]byte(a.body), &d) != nil || d.State != a.state {
			p.Fatalf("asked for the state: %d %s %s", a.status, a.state, a.body)
		}
		if a.state != "pending" && a.state != "approved" {
			p.Fatalf("state is %s", a.state)
		}
		return a.state == "approved"
	})
}

// passedOnce checks that the application saw the request, whole and once.
func (p *person) passedOnce() {
	p.Helper()
	if got := p.upstream.reached(p.path()); len(got) != 1 || got[0] != p.body() {
		p.Errorf("the application saw %q, want the request once", got)
	}
	p.push()
}

func (p *person) mustPass(a answer) {
	p.Helper()
	if a.status != http.StatusOK || a.body != upstreamAnswer {
		p.Errorf("answer is %d %s %s, want the application's", a.status, a.state, a.body)
	}
}

func (p *person) mustBeSpent(a answer) {
	p.Helper()
	if a.status != http.StatusForbidden || a.state != "spent" {
		p.Errorf("answer is %d %s, want 403 spent", a.status, a.state)
	}
}

func TestGateways(t *testing.T) {
	s := newSite(t)
	var wg sync.WaitGroup
	for name, test := range map[string]func(*testing.T){
		"finish what the other started": func(t *testing.T) {
			p := s.person(t, 0)
			p.start(s.a)
			p.start(s.b) // joins
			p.approve()
			p.awaitApproved(s.b)
			p.mustPass(p.ask(s.b))
			p.mustBeSpent(p.ask(s.a))
			p.mustBeSpent(p.ask(s.b))
			p.passedOnce()
		},
		"hear at once of what the other collected": func(t *testing.T) {
			// Whoever polls: one request is held at each, and one of them passes.
			p := s.person(t, 1)
			p.start(s.a)
			answers := make(chan answer, 2)
			for _, g := range []*gateway{s.a, s.b} {
				go func() {
					a, err := p.send(p.Context(), g)
					if err != nil {
						p.Error(err)
					}
					answers <- a
				}()
			}
			p.approve()
			first, second := <-answers, <-answers
			if first.status != http.StatusOK {
				first, second = second, first
			}
			p.mustPass(first)
			p.mustBeSpent(second)
			p.passedOnce()
		},
		"pass one of a hundred replays": func(t *testing.T) {
			p := s.person(t, 2)
			p.start(s.a)
			p.approve()
			p.awaitApproved(s.a)
			answers := make(chan answer, 100)
			for i := range cap(answers) {
				go func() {
					a, err := p.send(p.Context(), []*gateway{s.a, s.b}[i%2])
					if err != nil {
						p.Error(err)
					}
					answers <- a
				}()
			}
			pass := 0
			for range cap(answers) {
				if a := <-answers; a.status == http.StatusOK {
					pass++
				} else {
					p.mustBeSpent(a)
				}
			}
			if pass != 1 {
				t.Errorf("%d of 100 replays passed, want 1", pass)
			}
			p.passedOnce()
		},
		"start once what comes to both at once": func(t *testing.T) {
			// The session is from another approval: without one, the two would
			// be strangers.
			p := s.person(t, 3)
			other := s.person(t, 4)
			other.start(s.a)
			p.session = other.session
			answers := make(chan answer, 20)
			for i := range cap(answers) {
				go func() {
					a, err := p.send(p.Context(), []*gateway{s.a, s.b}[i%2], "Prefer: respond-async")
					if err != nil {
						p.Error(err)
					}
					answers <- a
				}()
			}
			for range cap(answers) {
				if a := <-answers; a.state != "pending" {
					t.Errorf("answer is %d %s", a.status, a.state)
				}
			}
			p.approve()
			p.awaitApproved(s.b)
			p.mustPass(p.ask(s.b))
			p.passedOnce()
		},
		"poll one at a time, and not too soon": func(t *testing.T) {
			var all []*person
			for i := range 8 {
				p := s.person(t, 10+i)
				p.start([]*gateway{s.a, s.b}[i%2])
				all = append(all, p)
			}
			for _, p := range all {
				id := p.push().ID
				eventually(t, "some polls", func() bool { return len(s.polls(id)) >= 4 })
				p.approve()
			}
			for _, p := range all {
				p.awaitApproved(s.b)
			}
		},
	} {
		wg.Go(func() { t.Run(name, test) })
	}
	wg.Wait()

	// For every request of this test.
	checked := 0
	for _, q := range s.broker.Requests() {
		polls := s.polls(q.ID)
		for i, call := range polls {
			if call.Error == "slow_down" {
				t.Error("the broker had to say slow_down")
			}
			if i == 0 {
				if call.Started.Sub(q.CreatedAt) < interval {
					t.Errorf("the first poll came %v after the start", call.Started.Sub(q.CreatedAt))
				}
				continue
			}
			switch last := polls[i-1]; {
			case last.Ended.IsZero() || call.Started.Before(last.Ended):
				t.Error("a poll came before the answer to the last one")
			case call.Started.Sub(last.Ended) < interval:
				t.Errorf("a poll came %v after the last one, want at least %v", call.Started.Sub(last.Ended), interval)
			}
			checked++
		}
	}
	if checked < 24 {
		t.Errorf("only %d pauses between polls were seen", checked)
	}
}

// polls are the polls for one request, in their order.
func (s *site) polls(id string) []cibatest.Call {
	return slices.DeleteFunc(s.broker.Log(), func(c cibatest.Call) bool {
		return c.AuthReqID != id || c.Endpoint != cibatest.EndpointToken
	})
}

// TestGateways_surviveOne kills the gateway that has started approvals, has
// polled for them and holds a request.
func TestGateways_surviveOne(t *testing.T) {
	s := newSite(t)
	polled, fresh, ready := s.person(t, 0), s.person(t, 1), s.person(t, 2)
	ready.start(s.a)
	ready.approve()
	ready.awaitApproved(s.a)
	polled.start(s.a)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	held := make(chan error, 1)
	go func() {
		_, err := polled.send(ctx, s.a)
		held <- err
	}()
	id := polled.push().ID
	eventually(t, "a poll", func() bool { return len(s.polls(id)) >= 1 })
	fresh.start(s.a)

	s.a.kill()
	if err := <-held; err == nil {
		t.Error("a gateway that was killed has answered")
	}
	for _, p := range []*person{polled, fresh} {
		if got := p.upstream.reached(p.path()); len(got) != 0 {
			t.Errorf("the application saw %d requests that nobody approved", len(got))
		}
		p.approve()
		p.awaitApproved(s.b)
	}
	for _, p := range []*person{polled, fresh, ready} {
		p.mustPass(p.ask(s.b))
		p.mustBeSpent(p.ask(s.b))
		p.passedOnce()
	}
}

// TestGateway_letsGoWhenStopped stops a gateway that holds a request: the
// client is told where it stands, and the other gateway goes on.
func TestGateway_letsGoWhenStopped(t *testing.T) {
	s := newSite(t)
	p := s.person(t, 0)
	p.start(s.a)
	held := make(chan answer, 1)
	go func() {
		a, err := p.send(p.Context(), s.a)
		if err != nil {
			p.Errorf("the held request was dropped: %v", err)
		}
		held <- a
	}()
	// It is held for as long as the approval is pending; a poll later, it has
	// arrived for sure.
	id := p.push().ID
	polls := len(s.polls(id))
	eventually(t, "two more polls", func() bool { return len(s.polls(id)) >= polls+2 })
	if err := s.a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if a := <-held; a.status != http.StatusUnauthorized || a.state != "pending" {
		t.Errorf("answer is %d %s %s, want the challenge", a.status, a.state, a.body)
	}
	select {
	case <-s.a.ended:
	case <-time.After(patience):
		t.Fatal("the gateway does not end")
	}
	if code := s.a.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.approve()
	p.awaitApproved(s.b)
	p.mustPass(p.ask(s.b))
	p.passedOnce()
}
