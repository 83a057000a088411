package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/internal/freeport"
)

// gracePeriod is how long a gateway that stops waits for its requests.
const gracePeriod = 20 * time.Second

// gatewayConfig is what the gateways of a site differ in.
type gatewayConfig struct {
	// Store overrides the site's.
	Store string
	// Admin opens the admin API, on a port of its own.
	Admin bool
	// Grace is Caddy's grace_period, 20 s by default.
	Grace time.Duration
}

// gateway is one process.
type gateway struct {
	name    string
	address string
	admin   string // address of the admin API, empty for none
	file    string // Caddyfile
	cmd     *exec.Cmd
	ended   chan struct{} // closed when the process has
	killed  chan struct{} // closed before it is killed
	log     string        // file
}

// gateway starts one more.
func (s *site) gateway(t *testing.T, c gatewayConfig) *gateway {
	t.Helper()
	g := &gateway{
		name:    string(rune('a' + len(s.gateways))),
		address: freeAddress(t),
		ended:   make(chan struct{}),
		killed:  make(chan struct{}),
	}
	if c.Store == "" {
		c.Store = s.config.Store
	}
	if c.Grace == 0 {
		c.Grace = gracePeriod
	}
	admin := "off"
	if c.Admin {
		g.admin = freeAddress(t)
		admin = g.admin
	}
	g.file = filepath.Join(s.dir, "Caddyfile-"+g.name)
	g.log = g.file + ".log"
	g.write(t, fmt.Sprintf(`{
	admin %s
	persist_config off
	auto_https off
	grace_period %s
	servers {
		trusted_proxies static 127.0.0.0/8
	}
	step_up {
		issuer %s
		client_id {env.STEP_UP_CLIENT_ID}
		client_secret {env.STEP_UP_CLIENT_SECRET}
		key {env.STEP_UP_KEY}
		store %s
		directory file users.csv
		budget user off
		budget address off
		endpoints {
			backchannel_authentication %s
			token %s
		}
	}
}

http://%s {
	bind 127.0.0.1
	step_up /transfers/* {
		user {http.request.header.Remote-User}
		text "Transfer {step_up.form.amount} to {step_up.form.to}"
		headers
	}
	step_up /accounts/* {
		user {http.request.header.Remote-User}
		text "Accounts of {http.request.header.Remote-User}"
		remember 10m
		headers
	}
	reverse_proxy %s {
		header_up Gateway %s
	}
}
`, admin, c.Grace, s.broker.issuer, c.Store, s.broker.via(g.name, "/connect/ciba"), s.broker.via(g.name, "/connect/token"),
		g.address[strings.LastIndex(g.address, ":"):], s.upstream.address, g.name))

	g.cmd = command(t, append(slices.Clone(exampleEnv), "STEP_UP_KEY="+storeKey,
		stopsAddress+"="+s.stops.url(g.name)), "run", "--config", g.file, "--adapter", "caddyfile")
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
	s.gateways = append(s.gateways, g)
	t.Cleanup(func() {
		g.kill()
		if log := g.logged(); t.Failed() || strings.Contains(log, "DATA RACE") {
			t.Errorf("log of gateway %s at %s:\n%s", g.name, g.address, log)
		}
	})
	return g
}

func (g *gateway) write(t testing.TB, config string) {
	t.Helper()
	if err := os.WriteFile(g.file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	address, err := freeport.Address(freeport.CmdCaddy)
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// ready waits until the gateway listens, by its own word: somebody else may
// answer at its address.
func (g *gateway) ready(t testing.TB) {
	t.Helper()
	eventually(t, "a gateway to listen", func() bool {
		if g.hasEnded() {
			t.Fatalf("a gateway ended early: %s", g.logged())
		}
		return strings.Contains(g.logged(), "serving initial configuration")
	})
}

func (g *gateway) hasEnded() bool {
	select {
	case <-g.ended:
		return true
	default:
		return false
	}
}

func (g *gateway) wasKilled() bool {
	select {
	case <-g.killed:
		return true
	default:
		return false
	}
}

// kill ends the process as a crash would.
func (g *gateway) kill() {
	if !g.wasKilled() {
		close(g.killed)
	}
	_ = g.cmd.Process.Kill()
	<-g.ended
}

// freeze suspends the process, as the machine that it runs on may be. It knows
// nothing of it afterwards.
func (g *gateway) freeze(t testing.TB) {
	t.Helper()
	if err := g.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}

// thaw ends freeze.
func (g *gateway) thaw(t testing.TB) {
	t.Helper()
	if err := g.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// terminate asks the process to end, as a service manager would.
func (g *gateway) terminate(t testing.TB) {
	t.Helper()
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// endsWell waits for the end of the process and wants exit code 0.
func (g *gateway) endsWell(t testing.TB) {
	t.Helper()
	await(t, g.ended)
	if code := g.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// reload loads the gateway's Caddyfile again, though it is the same.
func (g *gateway) reload(t testing.TB) {
	t.Helper()
	config, err := os.ReadFile(g.file)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a reload to be answered", func() bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+g.admin+"/load", bytes.NewReader(config))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "text/caddyfile")
		r.Header.Set("Cache-Control", "must-revalidate")
		r.Close = true
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			// Each reload makes a new admin server, and drops who has come to
			// the last one too late.
			return false
		}
		defer resp.Body.Close()
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
			t.Fatalf("reload: %d %s", resp.StatusCode, body)
		}
		return true
	})
}

// logged is all that the process has said so far.
func (g *gateway) logged() string {
	log, err := os.ReadFile(g.log)
	if err != nil {
		return err.Error()
	}
	return string(log)
}

// says waits until the gateway's log has a message.
func (g *gateway) says(t testing.TB, message string) {
	t.Helper()
	eventually(t, fmt.Sprintf("gateway %s to say %q", g.name, message), func() bool {
		return strings.Contains(g.logged(), message)
	})
}
