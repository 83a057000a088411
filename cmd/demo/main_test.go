package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
	"github.com/caddy-stepup/stepup/internal/freeport"
)

// patience bounds every wait of these tests.
const patience = 60 * time.Second

// demo is a demo that runs.
type demo struct {
	testing.TB
	options
	out *output
}

// startDemo runs a demo until the test ends. It must then end by itself.
func startDemo(t *testing.T, store string) *demo {
	t.Helper()
	d := &demo{t, options{gate: freeAddress(t), broker: freeAddress(t), upstream: freeAddress(t), store: store}, new(output)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, d.options, d.out) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the demo ended with: %v", err)
			}
		case <-time.After(patience):
			t.Fatal("the demo does not end")
		}
		if !strings.HasSuffix(d.out.String(), "\nStopping.\n") {
			t.Errorf("the demo does not say that it stops: %q", d.out)
		}
		for _, address := range []string{d.gate, d.broker, d.upstream} {
			if conn, err := net.Dial("tcp", address); err == nil {
				conn.Close()
				t.Errorf("something still listens on %s", address)
			}
		}
	})
	eventually(t, "the instructions", func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the demo ended early: %v", err)
		default:
		}
		return strings.Contains(d.out.String(), "Ctrl-C ends it.")
	})
	return d
}

// output is what the demo prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
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

func freeAddress(t testing.TB) string {
	t.Helper()
	address, err := freeport.Address(freeport.CmdDemo)
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// answer is what curl would print.
type answer struct {
	status int
	state  string
	body   string
}

// curl is `curl -u user:demo -d data url`, or a GET without data.
func (d *demo) curl(user, url, data string) answer {
	method := http.MethodGet
	if data != "" {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(d.Context(), method, url, strings.NewReader(data))
	if err != nil {
		d.Error(err)
		return answer{}
	}
	if user != "" {
		r.SetBasicAuth(user, "demo")
	}
	if data != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("Accept", "*/*")
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: patience}
	resp, err := client.Do(r)
	if err != nil {
		d.Error(err)
		return answer{}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.Error(err)
	}
	return answer{resp.StatusCode, resp.Header.Get("Step-Up-State"), string(body)}
}

// decide does on the phone page's JSON what the instructions say, with the
// request that shows a text.
func (d *demo) decide(text, decision string) {
	d.Helper()
	var id string
	eventually(d, "a request on the phone", func() bool {
		var waiting []struct {
			ID   string `json:"auth_req_id"`
			Text string `json:"text"`
		}
		a := d.curl("", "http://"+d.broker+"/sim/requests", "")
		if err := json.Unmarshal([]byte(a.body), &waiting); err != nil {
			d.Fatalf("%v: %s", err, a.body)
		}
		for _, q := range waiting {
			if strings.HasPrefix(q.Text, text+" [") {
				id = q.ID
			}
		}
		return id != ""
	})
	if a := d.curl("", "http://"+d.broker+"/sim/requests/"+id+"/"+decision, " "); a.status != http.StatusNoContent {
		d.Fatalf("%s: %d %s", decision, a.status, a.body)
	}
}

// held sends a request that waits for the phone.
func (d *demo) held(user, path, data string) <-chan answer {
	done := make(chan answer, 1)
	go func() { done <- d.curl(user, "http://"+d.gate+path, data) }()
	return done
}

func TestDemo(t *testing.T) {
	for name, store := range map[string]func(*testing.T) string{
		"memory": func(*testing.T) string { return "memory" },
		"redis":  func(t *testing.T) string { return redistest.Start(t).URL },
	} {
		t.Run(name, func(t *testing.T) {
			d := startDemo(t, store(t))
			for _, address := range []string{"http://" + d.gate + "/", "http://" + d.broker + "/sim/"} {
				if !strings.Contains(d.out.String(), address) {
					t.Errorf("the instructions do not name %s", address)
				}
			}

			home := d.curl("alice", "http://"+d.gate+"/", "")
			if home.status != http.StatusOK || !strings.Contains(home.body, "Den Gamle Bank") {
				t.Errorf("the bank's page is %d %.100s", home.status, home.body)
			}
			if a := d.curl("", "http://"+d.gate+"/transfers", "amount=1&to=x"); a.status != http.StatusUnauthorized || a.state != "" {
				t.Errorf("without a password: %d %s", a.status, a.state)
			}
			if phone := d.curl("", "http://"+d.broker+"/sim/", ""); phone.status != http.StatusOK {
				t.Errorf("the phone page is %d", phone.status)
			}

			yes, no := d.held("alice", "/transfers", "amount=100&to=Bob"), d.held("bob", "/transfers", "amount=900&to=Eve")
			d.decide("Betal 100 kr. til Bob", "approve")
			d.decide("Betal 900 kr. til Eve", "deny")
			if a := <-yes; a.status != http.StatusCreated || a.body != "transfer 1 done\n" {
				t.Errorf("approved: %d %s %s", a.status, a.state, a.body)
			}
			if a := <-no; a.status != http.StatusForbidden || a.state != "denied" {
				t.Errorf("refused: %d %s %s", a.status, a.state, a.body)
			}

			statement := d.held("alice", "/statements", "")
			d.decide("Vis kontoudtog", "approve")
			a := <-statement
			if a.status != http.StatusOK || !strings.Contains(a.body, "Bob") || strings.Contains(a.body, "Eve") {
				t.Errorf("the statement is %d %s: %s", a.status, a.state, a.body)
			}
			if out := d.out.String(); strings.Count(out, "bank: transfer") != 1 || !strings.Contains(out, `bank: transfer 1: "100" kr. to "Bob"`) {
				t.Errorf("the demo prints %q", out)
			}
		})
	}
}

func TestDemo_refusesAddressesThatOthersReach(t *testing.T) {
	good := options{gate: "127.0.0.1:0", broker: "127.0.0.1:0", upstream: "127.0.0.1:0", store: "memory"}
	for _, address := range []string{":8080", "0.0.0.0:8080", "[::]:8080", "192.0.2.1:8080", "example.com:8080", "127.0.0.1", ""} {
		for name, set := range map[string]func(*options){
			"gate":     func(o *options) { o.gate = address },
			"broker":   func(o *options) { o.broker = address },
			"upstream": func(o *options) { o.upstream = address },
		} {
			o := good
			set(&o)
			refusedBeforeStart(t, name+" "+address, o)
		}
	}
}

func TestDemo_refusesUnknownStores(t *testing.T) {
	for _, store := range []string{"", "disk", "redis", "http://127.0.0.1:6379", "Memory", "redis://127.0.0.1:6379\n\trespond hi"} {
		refusedBeforeStart(t, store, options{gate: freeAddress(t), broker: freeAddress(t), upstream: freeAddress(t), store: store})
	}
}

// refusedBeforeStart checks that run refuses options and prints no
// instructions.
func refusedBeforeStart(t *testing.T, name string, o options) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out := new(output)
	if err := run(ctx, o, out); err == nil || ctx.Err() != nil {
		t.Errorf("%q is accepted", name)
	}
	if out.String() != "" {
		t.Errorf("%q: the demo prints %q", name, out)
	}
}

// TestDemo_endsWhenAddressIsTaken has somebody else on one of its addresses.
func TestDemo_endsWhenAddressIsTaken(t *testing.T) {
	for name, take := range map[string]func(*options) string{
		"gate":     func(o *options) string { return o.gate },
		"broker":   func(o *options) string { return o.broker },
		"upstream": func(o *options) string { return o.upstream },
	} {
		o := options{gate: freeAddress(t), broker: freeAddress(t), upstream: freeAddress(t), store: "memory"}
		l, err := net.Listen("tcp", take(&o))
		if err != nil {
			t.Fatal(err)
		}
		refusedBeforeStart(t, name, o)
		l.Close()
		for _, address := range []string{o.gate, o.broker, o.upstream} {
			if conn, err := net.Dial("tcp", address); err == nil {
				conn.Close()
				t.Errorf("%s is taken: something still listens on %s", name, address)
			}
		}
	}
}
