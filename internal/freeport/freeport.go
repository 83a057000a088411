// Package freeport finds ports for the servers that tests and benchmarks start.
//
// Caddy shares a port with whoever else wants it, without an error, and some
// servers are away for a while and come back. So that a port is free is not
// enough: each kind of server has a range of its own, in which a process gives
// out no port twice. They lie below those that systems take for outgoing
// connections.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Range is the ports of one kind of server.
type Range struct{ first, size int }

// The ranges. The tests of packages run at the same time, so each package that
// starts Caddy has one. Redis does not share ports.
var (
	Redis       = Range{10_000, 12_000}
	Caddymodule = Range{22_000, 2_000}
	CmdCaddy    = Range{24_000, 2_000}
	CmdDemo     = Range{26_000, 2_000}
	CmdBench    = Range{28_000, 2_000}
)

var given struct {
	sync.Mutex
	ports map[int]bool
}

// Port returns a port of the range on which nobody listens at 127.0.0.1, and
// which it has not returned before.
func Port(r Range) (int, error) {
	given.Lock()
	defer given.Unlock()
	if given.ports == nil {
		given.ports = make(map[int]bool)
	}
	for _, i := range rand.Perm(r.size) {
		port := r.first + i
		if given.ports[port] {
			continue
		}
		l, err := net.Listen("tcp", address(port))
		if err != nil {
			continue
		}
		given.ports[port] = true
		return port, l.Close()
	}
	return 0, fmt.Errorf("of the ports from %d to %d, this process has had all that are free", r.first, r.first+r.size-1)
}

// Address is Port with the host.
func Address(r Range) (string, error) {
	port, err := Port(r)
	return address(port), err
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
