package main

import (
	"errors"
	"net/rpc"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-stepup/stepup/caddymodule"
)

// asGateway in the environment makes this program a gateway, which is told what
// to do on its standard input.
const asGateway = "STEPUP_BENCH_GATEWAY"

// serveGateway does as the parent says until that is gone.
func serveGateway() {
	parent := pipe{os.Stdin, os.Stdout}
	os.Stdout = os.Stderr // nothing but answers goes to the parent
	server := rpc.NewServer()
	if err := server.Register(new(Control)); err != nil {
		panic(err) // the methods below are not fit for it
	}
	server.ServeConn(parent)
	_ = caddy.Stop() // the process ends in any case
}

// Control is what the parent can ask of a gateway. It is exported for net/rpc.
type Control struct{ profile *os.File }

// Load starts Caddy.
func (*Control) Load(config string, _ *struct{}) error {
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), nil)
	if err != nil {
		return err
	}
	return caddy.Load(adapted, true)
}

// CPU is the time that this process has spent on a CPU so far.
func (*Control) CPU(_ struct{}, spent *time.Duration) (err error) {
	*spent, err = processCPU()
	return err
}

// Collect collects garbage.
func (*Control) Collect(struct{}, *struct{}) error {
	runtime.GC()
	return nil
}

// Memory is what a process holds on to, in bytes.
type Memory struct {
	Heap, Stack uint64
	RSS         uint64 // 0 where the system does not tell
	Goroutines  int
}

// Memory measures after a garbage collection.
func (*Control) Memory(_ struct{}, m *Memory) error {
	runtime.GC() // finalizers and pools need two
	debug.FreeOSMemory()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	*m = Memory{Heap: s.HeapAlloc, Stack: s.StackInuse, RSS: processRSS(), Goroutines: runtime.NumGoroutine()}
	return nil
}

// StartProfile begins a CPU profile.
func (c *Control) StartProfile(file string, _ *struct{}) (err error) {
	if c.profile, err = os.Create(file); err != nil {
		return err
	}
	return pprof.StartCPUProfile(c.profile)
}

// StopProfile ends the CPU profile.
func (c *Control) StopProfile(struct{}, *struct{}) error {
	pprof.StopCPUProfile()
	return c.profile.Close()
}

// ProfileHeap writes a profile of the memory in use.
func (*Control) ProfileHeap(file string, _ *struct{}) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("heap").WriteTo(f, 0), f.Close())
}
