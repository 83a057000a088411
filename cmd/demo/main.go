// Command demo is the whole of stepup in one process, on loopback: the gate, a
// simulator of the MitID broker with a phone page, and an old bank application
// that knows nothing of either.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-stepup/stepup/caddymodule"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// options are the command's flags, and what its tests set.
type options struct {
	gate, broker, upstream string        // addresses
	store                  string        // memory or a redis:// URL
	lifetime               time.Duration // of a request on the phone; by default the simulator's
}

func main() {
	var o options
	flag.StringVar(&o.gate, "gate", "127.0.0.1:8080", "`address` of the gate")
	flag.StringVar(&o.broker, "broker", "127.0.0.1:8081", "`address` of the MitID broker's simulator")
	flag.StringVar(&o.upstream, "upstream", "127.0.0.1:8082", "`address` of the bank behind the gate")
	flag.StringVar(&o.store, "store", "memory", "where approvals are kept: memory, or a redis:// `URL`")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// users are who can sign in at the demo, with the password "demo".
const users = `user,uuid
alice,8a9856e0-f12d-4217-b320-c8a076be9320
bob,eee4b272-6a33-40da-ab0b-5ce2abd42e78
`

//go:embed Caddyfile
var caddyfile string

// run serves the demo until ctx ends. It writes to out what to do.
func run(ctx context.Context, o options, out io.Writer) error {
	if o.store != "memory" && !strings.HasPrefix(o.store, "redis://") && !strings.HasPrefix(o.store, "rediss://") {
		return fmt.Errorf("unknown store %q: use memory or a redis:// URL", o.store)
	}
	for _, address := range []string{o.gate, o.broker, o.upstream} {
		if err := checkLoopback(address); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "stepup-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	directory := filepath.Join(dir, "users.csv")
	if err := os.WriteFile(directory, []byte(users), 0o600); err != nil {
		return err
	}

	broker, err := cibatest.New(cibatest.Config{
		Issuer:    "http://" + o.broker + "/op",
		ExpiresIn: o.lifetime,
		Interval:  2 * time.Second,
	})
	if err != nil {
		return err
	}
	stopBroker, err := serve(o.broker, broker)
	if err != nil {
		return err
	}
	defer stopBroker()
	stopBank, err := serve(o.upstream, newBank(out))
	if err != nil {
		return err
	}
	defer stopBank()

	if err := startGate(o, directory); err != nil {
		return err
	}
	fmt.Fprintf(out, instructions, o.gate, o.broker, o.gate, o.broker, o.broker)
	<-ctx.Done()
	fmt.Fprintln(out, "\nStopping.")
	return caddy.Stop()
}

const instructions = `
The bank:   http://%s/        sign in as alice or bob, password demo
The phone:  http://%s/sim/    approve or refuse there

In a browser, open both, and pay something at the bank. Or with curl:

  curl -u alice:demo -d 'amount=100&to=Bob' http://%s/transfers      # waits
  curl http://%s/sim/requests                                        # in another terminal: what the phone shows
  curl -X POST http://%s/sim/requests/AUTH_REQ_ID/approve            # or …/deny

Ctrl-C ends it.
`

// startGate loads Caddy with the demo's Caddyfile.
func startGate(o options, directory string) error {
	store := o.store
	if store != "memory" {
		store = "redis " + store
	}
	var config strings.Builder
	host, _, err := net.SplitHostPort(o.gate)
	if err != nil {
		return err
	}
	err = template.Must(template.New("Caddyfile").Parse(caddyfile)).Execute(&config, map[string]string{
		"Gate":         o.gate,
		"Host":         host,
		"Broker":       o.broker,
		"Upstream":     o.upstream,
		"Store":        store,
		"Directory":    directory,
		"ClientID":     cibatest.DemoClientID,
		"ClientSecret": cibatest.DemoClientSecret,
	})
	if err != nil {
		return err
	}
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config.String()), nil)
	if err != nil {
		return fmt.Errorf("adapting the demo's Caddyfile: %w", err)
	}
	return caddy.Load(adapted, true)
}

// checkLoopback refuses an address that others could reach: whoever reaches
// the demo may approve for everybody.
func checkLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address %q: %w", address, err)
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("address %q is not on loopback: the demo is for this machine only", address)
}

// serve serves until the returned function is called.
func serve(address string, h http.Handler) (stop func(), err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "demo: serving", address+":", err)
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if s.Shutdown(ctx) != nil {
			_ = s.Close()
		}
		<-done
	}, nil
}
