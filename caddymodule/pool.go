package caddymodule

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// Stores and engines live as long as a configuration or a request uses them,
// so that nothing is lost when the configuration is reloaded.
var (
	stores  = caddy.NewUsagePool()
	engines = caddy.NewUsagePool()
)

// store is a store in the pool.
type store struct{ approval.Store }

// Destruct closes the store.
func (s *store) Destruct() error { return s.Close() }

// GoString hides what is inside, because the pool prints its values when it
// panics.
func (*store) GoString() string { return "caddymodule.store{…}" }

// engine is an engine in the pool. It holds a reference of its store.
type engine struct {
	*approval.Engine
	storeKey string
	log      *relay
}

// Destruct closes the engine, and gives back the store.
func (e *engine) Destruct() error {
	e.Close()
	_, err := stores.Delete(e.storeKey)
	return err
}

// GoString hides what is inside.
func (*engine) GoString() string { return "caddymodule.engine{…}" }

// loadEngine returns the engine for the app's configuration, with a reference
// that releaseEngine gives back.
func (a *App) loadEngine() (*engine, error) {
	e, _, err := engines.LoadOrNew(a.engineKey, func() (caddy.Destructor, error) {
		storeKey := a.store.PoolKey()
		s, _, err := stores.LoadOrNew(storeKey, func() (caddy.Destructor, error) {
			opened, err := a.store.Open()
			if err != nil {
				return nil, fmt.Errorf("opening the store: %w", err)
			}
			return &store{opened}, nil
		})
		if err != nil {
			return nil, err
		}
		made, err := approval.NewEngine(approval.Config{
			Provider:    a.client,
			Store:       s.(*store).Store,
			Secret:      a.secret,
			Logger:      slog.New(a.log),
			UserRate:    a.userRate,
			AddressRate: a.addrRate,
		})
		if err != nil {
			_, _ = stores.Delete(storeKey)
			return nil, fmt.Errorf("setting up the approval engine: %w", err)
		}
		return &engine{made, storeKey, a.log}, nil
	})
	if err != nil {
		return nil, err
	}
	return e.(*engine), nil
}

func releaseEngine(key string) error {
	_, err := engines.Delete(key)
	return err
}

// dismissAtExit makes the engines dismiss who waits when Caddy is about to exit.
// Caddy's HTTP app waits for the requests under way before other apps hear of
// it, so somebody has to look: one goroutine, from the first request that is
// held to the end of the process.
var dismissAtExit = sync.OnceFunc(func() {
	go func() {
		for range time.Tick(250 * time.Millisecond) {
			if caddy.Exiting() {
				engines.Range(func(_, e any) bool {
					e.(*engine).Dismiss()
					return true
				})
				return
			}
		}
	}()
})

// relay is a log handler that passes everything on to the one of the newest
// configuration: an engine outlives the configuration that made it, and that
// one's log may be closed.
type relay struct{ to atomic.Pointer[slog.Handler] }

func newRelay(to slog.Handler) *relay {
	r := new(relay)
	r.to.Store(&to)
	return r
}

// Enabled implements [slog.Handler].
func (r *relay) Enabled(ctx context.Context, l slog.Level) bool {
	return (*r.to.Load()).Enabled(ctx, l)
}

// Handle implements [slog.Handler]. Caddy adds fields of a request to what is
// logged in its context, such as who the user is, and makes a logger for that
// which lives as long as the request: what is told of approvals has nothing
// personal in it, and held requests are many.
func (r *relay) Handle(_ context.Context, record slog.Record) error {
	return (*r.to.Load()).Handle(context.Background(), record)
}

// WithAttrs implements [slog.Handler].
func (r *relay) WithAttrs(attrs []slog.Attr) slog.Handler { return (*r.to.Load()).WithAttrs(attrs) }

// WithGroup implements [slog.Handler].
func (r *relay) WithGroup(name string) slog.Handler { return (*r.to.Load()).WithGroup(name) }
