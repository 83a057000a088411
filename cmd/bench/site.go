package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// site is what gateways stand in front of and ask: the application, the
// broker's simulator, and a client for the people who use it.
type site struct {
	application string // address
	upstream    *upstream

	issuer   string
	broker   *cibatest.Server
	interval time.Duration

	client  *http.Client
	servers []*http.Server
}

// newSite starts an application and a broker whose requests live for an hour.
func newSite(interval time.Duration) (*site, error) {
	s := &site{
		upstream: &upstream{release: make(chan struct{})},
		interval: interval,
		client: &http.Client{Transport: &http.Transport{
			MaxIdleConnsPerHost: 1 << 16, // none is closed
			DisableCompression:  true,
		}},
	}
	var err error
	if s.application, err = s.serve(func(string) (http.Handler, error) { return s.upstream, nil }); err != nil {
		return nil, err
	}
	_, err = s.serve(func(address string) (http.Handler, error) {
		s.issuer = "http://" + address + "/op"
		broker, err := cibatest.New(cibatest.Config{Issuer: s.issuer, Interval: interval, ExpiresIn: time.Hour})
		s.broker = broker
		return broker, err
	})
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// serve starts a server and returns its address.
func (s *site) serve(handler func(address string) (http.Handler, error)) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	h, err := handler(l.Addr().String())
	if err != nil {
		return "", errors.Join(err, l.Close())
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: patience}
	s.servers = append(s.servers, server)
	go func() { _ = server.Serve(l) }() // until it is closed
	return l.Addr().String(), nil
}

func (s *site) stop() {
	s.client.CloseIdleConnections()
	for _, server := range s.servers {
		_ = server.Close()
	}
}

// upstreamAnswer is what the application answers: as much as a short list.
var upstreamAnswer = `{"accounts":[` + strings.Repeat(`{"number":"1234 567890","balance":100},`, 12) + `null]}`

// slowPath is where the application does not answer before it is released.
const slowPath = "/slow"

// upstream is the application. It does next to nothing, and remembers what was
// posted by whom.
type upstream struct {
	waiting atomic.Int64  // requests to slowPath so far
	release chan struct{} // closed when they may be answered

	mu     sync.Mutex
	posted map[string][]time.Time // by user
}

// ServeHTTP implements [http.Handler].
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		at := time.Now()
		_, _ = io.Copy(io.Discard, r.Body)
		user := r.Header.Get(userHeader)
		u.mu.Lock()
		if u.posted == nil {
			u.posted = make(map[string][]time.Time)
		}
		u.posted[user] = append(u.posted[user], at)
		u.mu.Unlock()
	}
	if r.URL.Path == slowPath {
		u.waiting.Add(1)
		select {
		case <-u.release:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, upstreamAnswer)
}

// arrivals are when posts of a user came.
func (u *upstream) arrivals(user string) []time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.posted[user]
}

// Whoever signs users in tells the gateway by these headers.
const (
	userHeader = "Remote-User"
	uuidHeader = "X-Mitid-Uuid"
)

// person is a user in a browser, with something to do at the site.
type person struct {
	user, uuid         string
	method, path, body string
	cookie             string // the session's
}

func newPerson(number int, method, path string) *person {
	p := &person{
		user:   fmt.Sprintf("user-%06d", number),
		uuid:   fmt.Sprintf("%08x-5afe-4bad-8fad-0123456789ab", 0xc0de0000+number),
		method: method,
		path:   path,
	}
	if method == http.MethodPost {
		p.body = fmt.Sprintf("from=1234567890&amount=%d&currency=DKK&to=Bob&account=9876543210&date=2026-12-01"+
			"&message=Tak+for+sidst&reference=a3f1c2d4e5b6978812345678&category=household&urgent=no&receipt=yes&token=5d41402abc4b2a76", number)
	}
	return p
}

// answer is what a person was answered.
type answer struct {
	status int
	state  string // of the gate, empty if the answer is the application's
}

var (
	passed  = answer{http.StatusOK, ""}
	pending = answer{http.StatusUnauthorized, "pending"}
	denied  = answer{http.StatusForbidden, "denied"}
)

// send sends the person's request to a gateway. Headers are name and value in
// turn.
func (s *site) send(ctx context.Context, g *gateway, p *person, headers ...string) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, p.method, "http://"+g.address+p.path, strings.NewReader(p.body))
	if err != nil {
		return answer{}, err
	}
	r.Host = "bank.example" // at all gateways, as behind a load balancer
	cookie := "theme=dark; lang=da"
	if p.cookie != "" {
		cookie += "; " + p.cookie
	}
	for name, value := range map[string]string{
		"User-Agent":      "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
		"Accept":          "application/json",
		"Accept-Language": "da,en;q=0.7",
		"Accept-Encoding": "gzip, deflate, br",
		"Cookie":          cookie,
		"Sec-Fetch-Dest":  "empty",
		"Sec-Fetch-Mode":  "cors",
		"Sec-Fetch-Site":  "same-origin",
		userHeader:        p.user,
		uuidHeader:        p.uuid,
	} {
		r.Header[name] = []string{value}
	}
	if p.body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	for _, c := range resp.Cookies() {
		p.cookie = c.Name + "=" + c.Value
	}
	a := answer{resp.StatusCode, resp.Header.Get("Step-Up-State")}
	if a.state == "" && string(body) != upstreamAnswer {
		return answer{}, fmt.Errorf("neither the gate's answer nor the application's: %d %.200q", resp.StatusCode, body)
	}
	return a, nil
}

// expect is send where there is but one good answer.
func (s *site) expect(ctx context.Context, want answer, g *gateway, p *person, headers ...string) error {
	got, err := s.send(ctx, g, p, headers...)
	if err == nil && got != want {
		err = fmt.Errorf("the answer is %d %s, want %d %s\n%s", got.status, got.state, want.status, want.state, g.lastWords())
	}
	return err
}

// start asks for an approval, without waiting for it. The same again tells the
// gate that the person is still there.
func (s *site) start(ctx context.Context, g *gateway, p *person) error {
	return s.expect(ctx, pending, g, p, "Prefer", "respond-async")
}

// state waits until the person's approval is not pending any more, for at most
// so many seconds, and returns its state.
func (s *site) state(ctx context.Context, g *gateway, p *person, seconds int) (string, error) {
	a, err := s.send(ctx, g, p, "Step-Up-Status", fmt.Sprint(seconds))
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("asked for the state, the answer is %d %s", a.status, a.state)
	}
	return a.state, err
}

// decideAll decides everything that waits on a phone. yes says whose answer is
// yes. It returns how many there were of each.
func (s *site) decideAll(yes func(i int, r cibatest.Request) bool) (approved, refused int, err error) {
	i := 0
	for _, r := range s.broker.Requests() {
		if r.State != cibatest.StateWaiting {
			continue
		}
		if yes(i, r) {
			approved, err = approved+1, s.broker.Approve(r.ID)
		} else {
			refused, err = refused+1, s.broker.Deny(r.ID)
		}
		if err != nil {
			return approved, refused, err
		}
		i++
	}
	return approved, refused, nil
}

// approveAll has everybody ask for an approval and get it. The person says yes
// before the first poll, so that one is enough.
func (s *site) approveAll(ctx context.Context, g *gateway, people []*person) error {
	const workers = 32
	asking, asked := context.WithCancel(ctx)
	defer asked()
	said := make(chan error, 1)
	go func() {
		for asking.Err() == nil {
			if _, _, err := s.decideAll(everybody); err != nil {
				said <- err
				return
			}
			_ = pause(asking, s.interval/4)
		}
		_, _, err := s.decideAll(everybody) // who came last
		said <- err
	}()
	err := each(ctx, len(people), workers, func(ctx context.Context, i int) error {
		return s.start(ctx, g, people[i])
	})
	asked()
	if err := errors.Join(err, <-said); err != nil {
		return fmt.Errorf("starting approvals: %w", err)
	}
	return each(ctx, len(people), workers, func(ctx context.Context, i int) error {
		state, err := s.state(ctx, g, people[i], 30)
		if err == nil && state != "approved" {
			err = fmt.Errorf("waiting for an approval: it is %s", state)
		}
		return err
	})
}

// everybody says yes.
func everybody(int, cibatest.Request) bool { return true }
