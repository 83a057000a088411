// Command bench measures what the gate costs: what it adds to a request that is
// approved already, and what approvals take while they wait.
//
//	go run ./cmd/bench [flags] [part...]
//
// The parts are load, pending, polling, held and answer; without a name, all of
// them run. Each prints a table in Markdown, with the targets beside the
// figures.
//
// This process is the load generator, the broker's simulator and the
// application behind the gateways. The gateways are processes of their own, on
// loopback, and Redis is redis-server from PATH. CPU is what the processes
// themselves were charged for, so other work on the machine disturbs times, and
// CPU less.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command's flags.
type options struct {
	quick bool

	rounds, requests, concurrency   int // load
	pending, polling, held, answers int // how many approvals

	// interval is the broker's for the parts pending and held. The other parts
	// have theirs.
	interval time.Duration

	window  time.Duration // in which the part polling looks at polls
	profile string        // directory for profiles, or empty
}

// full is what the targets are for, quick is for a look.
var (
	full = options{
		rounds: 15, requests: 3000, concurrency: 8,
		pending: 100_000, polling: 10_000, held: 5000, answers: 1000,
		interval: 60 * time.Second, window: 60 * time.Second,
	}
	quick = options{
		quick: true, rounds: 3, requests: 500, concurrency: 8,
		pending: 5000, polling: 1000, held: 500, answers: 100,
		interval: 10 * time.Second, window: 15 * time.Second,
	}
)

// parts are what can be measured, in their order.
var parts = []struct {
	name    string
	measure func(context.Context, *bench) error
}{
	{"load", measureLoad},
	{"pending", measurePending},
	{"polling", measurePolling},
	{"held", measureHeld},
	{"answer", measureAnswer},
}

func main() {
	if os.Getenv(asGateway) != "" {
		serveGateway()
		return
	}
	o, names, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2) // told already
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Println("Command: `go run ./cmd/bench", strings.Join(os.Args[1:], " ")+"`")
	if err := run(ctx, o, names, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// flags returns the command's flags, whose defaults are what o says.
func flags(o *options, w io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(w)
	f.BoolVar(&o.quick, "quick", o.quick, "measure little, for a look; it changes the defaults of the others")
	f.IntVar(&o.rounds, "rounds", o.rounds, "load: how many `times` everything is measured")
	f.IntVar(&o.requests, "requests", o.requests, "load: `requests` in one measurement")
	f.IntVar(&o.concurrency, "concurrency", o.concurrency, "load: `requests` under way at once")
	f.IntVar(&o.pending, "pending", o.pending, "pending: how many `approvals`")
	f.DurationVar(&o.interval, "interval", o.interval, "pending, held: the broker's polling `interval`, whole seconds")
	f.IntVar(&o.polling, "polling", o.polling, "polling: how many `approvals`")
	f.IntVar(&o.held, "held", o.held, "held: how many `requests`")
	f.IntVar(&o.answers, "answers", o.answers, "answer: how many `approvals`")
	f.StringVar(&o.profile, "profile", o.profile, "write profiles to this `directory`, for go tool pprof; it costs a few percent, or with load some time")
	f.Usage = func() {
		fmt.Fprintln(w, "usage: bench [flags] [load|pending|polling|held|answer...]")
		f.PrintDefaults()
	}
	return f
}

// parse reads the command line, and tells on w what is wrong with it.
func parse(args []string, w io.Writer) (o options, names []string, err error) {
	o = full
	f := flags(&o, w)
	if err := f.Parse(args); err != nil {
		return o, nil, err
	}
	if o.quick {
		o = quick
		f = flags(&o, w)
		if err := f.Parse(args); err != nil {
			return o, nil, err
		}
	}
	if err := o.check(f.Args()); err != nil {
		fmt.Fprintln(w, err)
		f.Usage()
		return o, nil, err
	}
	return o, f.Args(), nil
}

func (o options) check(names []string) error {
	for _, n := range []int{o.rounds, o.requests, o.concurrency, o.pending, o.polling, o.held, o.answers} {
		if n < 1 {
			return fmt.Errorf("a number must be positive, not %d", n)
		}
	}
	if o.interval < time.Second || o.interval%time.Second != 0 {
		return fmt.Errorf("the interval must be whole seconds, not %v", o.interval)
	}
	for _, name := range names {
		if !isPart(name) {
			return fmt.Errorf("there is no part %q", name)
		}
	}
	return nil
}

func isPart(name string) bool {
	for _, p := range parts {
		if p.name == name {
			return true
		}
	}
	return false
}

// bench is one run of the command.
type bench struct {
	options
	out, log io.Writer
	dir      string // for what the processes write
	gateways int    // how many were started
}

func run(ctx context.Context, o options, names []string, out, log io.Writer) error {
	dir, err := os.MkdirTemp("", "stepup-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{options: o, out: out, log: log, dir: dir}
	machine, err := describeMachine(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nMachine: %s\n", machine)
	for _, p := range parts {
		if len(names) > 0 && !slices.Contains(names, p.name) {
			continue
		}
		if err := b.measurePart(ctx, p.name, p.measure); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// measurePart measures one part, and if profiles are wanted this process with
// it: where it is busy itself, the figures are of it.
func (b *bench) measurePart(ctx context.Context, name string, measure func(context.Context, *bench) error) error {
	if b.profile == "" {
		return measure(ctx, b)
	}
	if err := os.MkdirAll(b.profile, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(b.profile, name+"-bench.cpu"))
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	err = measure(ctx, b)
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}

// print writes what a part has measured.
func (b *bench) print(heading string, t table, notes ...string) {
	fmt.Fprintf(b.out, "\n### %s\n\n%s", heading, t)
	for _, n := range notes {
		fmt.Fprintf(b.out, "\n%s\n", n)
	}
}

// progress tells whoever watches how far it is.
func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(b.log, time.Now().Format("15:04:05 ")+format+"\n", args...)
}
