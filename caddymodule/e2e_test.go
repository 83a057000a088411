package caddymodule_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-stepup/stepup/caddymodule"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
	"github.com/caddy-stepup/stepup/internal/freeport"
)

// patience bounds every wait of these tests. Most of it is for machines that
// do much else.
const patience = 60 * time.Second

// world is a gate with everything around it, all of it real but the broker: an
// application behind the gate, and people with phones. A process has one Caddy,
// so tests that have a world do not run in parallel; what happens within one
// does.
type world struct {
	testing.TB
	broker   *cibatest.Server
	wire     *line // to the broker
	issuer   string
	upstream *upstream
	gate     string // host:port
	secure   string // host:port with TLS, or empty
	dir      string
	people   atomic.Int64

	mu       sync.Mutex
	secrets  []string // what no log may show
	personal []string // what only Caddy's reverse proxy may log, with the headers that it sends on
}

// people is how many users a world's directory has. Each is used once, with an
// address of their own: nobody's limits are another's.
const people = 2000

// newWorld starts a world whose approvals are kept in memory.
func newWorld(t testing.TB) *world {
	w := prepareWorld(t, cibatest.Config{})
	w.load(w.appOptions(), "")
	return w
}

// prepareWorld starts everything but the gate.
func prepareWorld(t testing.TB, c cibatest.Config) *world {
	t.Helper()
	w := &world{TB: t, dir: t.TempDir(), gate: freeAddress(t)}

	server := httptest.NewUnstartedServer(nil)
	if c.Issuer == "" {
		c.Issuer = "/op"
	}
	w.wire = newLine(t, server.Listener.Addr().String())
	c.Issuer = "http://" + w.wire.address + c.Issuer
	c.Interval = time.Second
	broker, err := cibatest.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = broker
	server.Start()
	t.Cleanup(server.Close)
	w.broker, w.issuer = broker, c.Issuer

	w.upstream = newUpstream(t)

	var users strings.Builder
	for i := range people {
		fmt.Fprintf(&users, "%s,%s\n", userName(i), userUUID(i))
	}
	if err := os.WriteFile(w.file("users.csv"), []byte(users.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	return w
}

func userName(i int) string { return fmt.Sprintf("citizen-%04d@example.dk", i) }
func userUUID(i int) string { return fmt.Sprintf("%08x-5afe-4bad-8fad-0123456789ab", 0xc0de0000+i) }

func (w *world) file(name string) string { return filepath.Join(w.dir, name) }

// appOptions are the options of the app for the world's broker, its client and
// the users.
func (w *world) appOptions(more ...string) string {
	return strings.Join(append([]string{
		"issuer " + w.issuer,
		"client_id " + cibatest.DemoClientID,
		"client_secret " + cibatest.DemoClientSecret,
		"directory file " + w.file("users.csv"),
	}, more...), "\n\t\t")
}

// worldCaddyfile is a world's configuration. Users come from a proxy in front, which
// these tests play.
const worldCaddyfile = `{
	admin off
	persist_config off
	auto_https disable_redirects
	skip_install_trust
	storage file_system "%[1]s"
	log {
		output file "%[1]s/log"
		level DEBUG
	}
	servers {
		listener_wrappers {
			counted
		}
		protocols h1 h2 h2c
		trusted_proxies static 127.0.0.0/8
	}
	step_up {
		%[2]s
	}
}

(routes) {
	@policyA {
		path /policy
		header Which a
	}
	@policyB {
		path /policy
		header Which b
	}
	step_up @policyA {
		user {http.request.header.Remote-User}
		policy a
	}
	step_up @policyB {
		user {http.request.header.Remote-User}
		policy b
	}
	step_up /auto/* {
		user {http.request.header.Remote-User}
	}
	step_up /form/* {
		user {http.request.header.Remote-User}
		text "Betal {step_up.form.amount} kr. til {step_up.form.to}"
	}
	step_up /json/* {
		user {http.request.header.Remote-User}
		text "Betal {step_up.json.payment.amount} kr."
	}
	step_up /challenge/* {
		user {http.request.header.Remote-User}
		respond challenge
	}
	step_up /brief/* {
		user {http.request.header.Remote-User}
		hold 1s
	}
	step_up /small/* {
		user {http.request.header.Remote-User}
		max_body 1kB
	}
	step_up /remember/* {
		user {http.request.header.Remote-User}
		remember 1h
	}
	step_up /headers/* {
		user {http.request.header.Remote-User}
		headers
	}
	step_up /loa/* {
		user {http.request.header.Remote-User}
		require loa substantial
	}
	reverse_proxy %[3]s {
		header_up X-Approval "{http.step_up.approval_id}"
		header_up X-Approved-User "{http.step_up.user}"
		header_up X-Approved-Uuid "{http.step_up.uuid}"
		header_up X-Approved-At "{http.step_up.approved_at}"
		header_up X-Transaction "{http.step_up.transaction_id}"
	}
	%[6]s
}

http://:%[4]s {
	bind 127.0.0.1
	import routes
}

%[5]s
`

// secureSite is the site with TLS.
const secureSite = `https://localhost:%s {
	bind 127.0.0.1
	tls internal
	import routes
}`

// load loads a configuration, as the first or in place of the one before.
// Directives can be added to every site.
func (w *world) load(app, directives string) {
	w.Helper()
	_, port, _ := net.SplitHostPort(w.gate)
	secure := ""
	if w.secure != "" {
		_, securePort, _ := net.SplitHostPort(w.secure)
		secure = fmt.Sprintf(secureSite, securePort)
	}
	source := fmt.Sprintf(worldCaddyfile, w.dir, app, w.upstream.address, port, secure, directives)
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(source), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		w.Fatalf("adapting: %v", err)
	}
	for _, warning := range warnings {
		if !strings.Contains(warning.Message, "not formatted") {
			w.Errorf("adapting: %v", warning)
		}
	}
	w.use(config)
}

// use makes Caddy use a configuration. It returns when the listeners of the one
// before are closed: until then its server also takes connections, and closes
// them without an answer.
func (w *world) use(config []byte) {
	w.Helper()
	if err := caddy.Load(config, true); err != nil {
		w.Fatalf("loading: %v", err)
	}
	sites := int64(1)
	if w.secure != "" {
		sites = 2
	}
	eventually(w, "the old listeners to close", func() bool { return openListeners.Load() == sites })
}

// secret notes what no log may show.
func (w *world) secret(values ...string) { w.note(&w.secrets, values) }

func (w *world) note(list *[]string, values []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range values {
		// What is shorter is there by chance.
		if len(v) >= 12 && !slices.Contains(*list, v) {
			*list = append(*list, v)
		}
	}
}

// secretCode notes a check code, as it stands in a text and in a document.
func (w *world) secretCode(code string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets = append(w.secrets, "["+code+"]", `"`+code+`"`)
}

// log returns the log so far.
func (w *world) log() string {
	w.Helper()
	content, err := os.ReadFile(w.file("log"))
	if err != nil {
		w.Fatal(err)
	}
	return string(content)
}

// together runs subtests at once, all of them: most of their time is waiting,
// and no more of them run in parallel than there are processors otherwise.
func together(t *testing.T, tests map[string]func(*testing.T)) {
	t.Helper()
	var wg sync.WaitGroup
	for name, test := range tests {
		wg.Go(func() { t.Run(name, test) })
	}
	wg.Wait()
}

func freeAddress(t testing.TB) string {
	t.Helper()
	address, err := freeport.Address(freeport.Caddymodule)
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// eventually waits for a condition that gives no other sign.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
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

// upstream is the application behind the gate. It remembers what reached it.
type upstream struct {
	address string

	mu       sync.Mutex
	requests []arrival
}

// arrival is a request as the application saw it.
type arrival struct {
	method, uri, host string
	header            http.Header
	body              string
	length            int64
}

const upstreamAnswer = "the application's answer"

func newUpstream(t testing.TB) *upstream {
	u := new(upstream)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("upstream: reading a body: %v", err)
		}
		u.mu.Lock()
		u.requests = append(u.requests, arrival{r.Method, r.RequestURI, r.Host, r.Header, string(body), r.ContentLength})
		u.mu.Unlock()
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, upstreamAnswer)
	}))
	t.Cleanup(s.Close)
	u.address = s.Listener.Addr().String()
	return u
}

// arrivals are the requests whose path is the given one.
func (u *upstream) arrivals(path string) []arrival {
	u.mu.Lock()
	defer u.mu.Unlock()
	var found []arrival
	for _, a := range u.requests {
		if p, _, _ := strings.Cut(a.uri, "?"); p == path {
			found = append(found, a)
		}
	}
	return found
}
