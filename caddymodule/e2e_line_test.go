package caddymodule_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// line is a network connection that a test can cut and mend.
type line struct {
	testing.TB
	address, target string

	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
}

// newLine makes a line to a target.
func newLine(t testing.TB, target string) *line {
	t.Helper()
	l := &line{TB: t, address: "127.0.0.1:0", target: target}
	l.mend()
	t.Cleanup(l.cut)
	return l
}

// mend lets new connections through.
func (l *line) mend() {
	l.Helper()
	var listener net.Listener
	eventually(l.TB, "the port to listen on again", func() (ok bool) {
		var err error
		listener, err = net.Listen("tcp", l.address)
		return err == nil
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.address, l.listener = listener.Addr().String(), listener
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", l.target)
			if err != nil {
				conn.Close()
				continue
			}
			l.mu.Lock()
			l.conns = append(l.conns, conn, out)
			cut := l.listener != listener
			l.mu.Unlock()
			if cut {
				conn.Close()
				out.Close()
				return
			}
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				to.Close()
				from.Close()
			}
			go pass(out, conn)
			go pass(conn, out)
		}
	}()
}

// cut ends all connections and refuses new ones.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener == nil {
		return
	}
	l.listener.Close()
	l.listener = nil
	for _, c := range l.conns {
		c.Close()
	}
	l.conns = nil
}
