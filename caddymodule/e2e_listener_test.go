package caddymodule_test

import (
	"net"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() { caddy.RegisterModule(countedListeners{}) }

// openListeners is how many listeners of worlds are open. Caddy's own count,
// [caddy.ListenerUsage], leaves a listener out before it is closed.
var openListeners atomic.Int64

// countedListeners is a listener wrapper that keeps openListeners.
type countedListeners struct{}

// CaddyModule returns the Caddy module information.
func (countedListeners) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.listeners.counted",
		New: func() caddy.Module { return new(countedListeners) },
	}
}

// UnmarshalCaddyfile implements [caddyfile.Unmarshaler]: counted.
func (*countedListeners) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return nil
}

// WrapListener implements [caddy.ListenerWrapper].
func (*countedListeners) WrapListener(l net.Listener) net.Listener {
	openListeners.Add(1)
	return &countedListener{Listener: l}
}

type countedListener struct {
	net.Listener
	closed sync.Once
}

// Close closes the listener, and then counts it as closed.
func (l *countedListener) Close() error {
	err := l.Listener.Close()
	l.closed.Do(func() { openListeners.Add(-1) })
	return err
}
