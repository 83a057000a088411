package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
	"github.com/caddy-stepup/stepup/internal/freeport"
)

// patience bounds every wait for something that should be there soon.
const patience = 30 * time.Second

// gate says what a gateway guards, and how. The zero value guards nothing: it
// is Caddy with reverse_proxy and no more.
type gate struct {
	Path     string // matcher
	Store    string // as in the Caddyfile
	Remember string // empty for one-time approvals
}

//go:embed Caddyfile
var caddyfile string

var caddyfileTemplate = template.Must(template.New("Caddyfile").Parse(caddyfile))

// gateway is a process with Caddy and the module in it.
type gateway struct {
	address string
	cmd     *exec.Cmd
	control *rpc.Client
	log     string // file
}

// gateway starts a process in front of a site.
func (b *bench) gateway(s *site, g gate) (*gateway, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	address, err := freeport.Address(freeport.CmdBench)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	var config strings.Builder
	err = caddyfileTemplate.Execute(&config, map[string]any{
		"Gate":         g,
		"Port":         port,
		"Issuer":       s.issuer,
		"ClientID":     cibatest.DemoClientID,
		"ClientSecret": cibatest.DemoClientSecret,
		"Upstream":     s.application,
	})
	if err != nil {
		return nil, err
	}
	b.gateways++
	home := filepath.Join(b.dir, fmt.Sprintf("gateway-%d", b.gateways))
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(home, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()

	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), asGateway+"=1", "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home)
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting a gateway: %w", err)
	}
	started := &gateway{
		address: address,
		cmd:     cmd,
		control: rpc.NewClient(pipe{out, in}),
		log:     log.Name(),
	}
	if err := started.control.Call("Control.Load", config.String(), new(struct{})); err != nil {
		started.stop()
		return nil, fmt.Errorf("loading a gateway: %w\n%s", err, started.lastWords())
	}
	return started, nil
}

// stop ends the process.
func (g *gateway) stop() {
	_ = g.control.Close() // it ends when nobody is there
	kill := time.AfterFunc(patience, func() { _ = g.cmd.Process.Kill() })
	defer kill.Stop()
	_ = g.cmd.Wait()
}

// lastWords is the end of the log, without what is as it should be.
func (g *gateway) lastWords() string {
	log, err := os.ReadFile(g.log)
	if err != nil {
		return err.Error()
	}
	var words strings.Builder
	for line := range strings.Lines(string(log)) {
		if !strings.Contains(line, `"level":"info"`) {
			words.WriteString(line)
		}
	}
	return words.String()[max(0, words.Len()-2000):]
}

// cpu is the time that the process has spent on a CPU so far.
func (g *gateway) cpu() (time.Duration, error) {
	var spent time.Duration
	err := g.control.Call("Control.CPU", struct{}{}, &spent)
	return spent, err
}

// memory is what the process holds on to, after a garbage collection.
func (g *gateway) memory() (Memory, error) {
	var m Memory
	err := g.control.Call("Control.Memory", struct{}{}, &m)
	return m, err
}

// collect makes the process collect its garbage, so that what comes next does
// not pay for what was before.
func (g *gateway) collect() error {
	return g.control.Call("Control.Collect", struct{}{}, new(struct{}))
}

// profiled runs f under the profiler if profiles are wanted.
func (b *bench) profiled(g *gateway, name string, f func() error) error {
	if b.profile == "" {
		return f()
	}
	file, err := filepath.Abs(filepath.Join(b.profile, name+".cpu"))
	if err != nil {
		return err
	}
	if err := g.control.Call("Control.StartProfile", file, new(struct{})); err != nil {
		return err
	}
	return errors.Join(f(), g.control.Call("Control.StopProfile", struct{}{}, new(struct{})))
}

// profileHeap writes what is in the process's memory, if profiles are wanted.
func (b *bench) profileHeap(g *gateway, name string) error {
	if b.profile == "" {
		return nil
	}
	file, err := filepath.Abs(filepath.Join(b.profile, name+".heap"))
	if err != nil {
		return err
	}
	return g.control.Call("Control.ProfileHeap", file, new(struct{}))
}

// pipe is the connection between the two processes.
type pipe struct {
	io.ReadCloser
	io.WriteCloser
}

// Close implements [io.Closer].
func (p pipe) Close() error { return errors.Join(p.WriteCloser.Close(), p.ReadCloser.Close()) }
