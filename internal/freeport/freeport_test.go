package freeport

import (
	"net"
	"testing"
)

func TestPort_givesNoneTwiceAndNoneThatIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r := Range{taken.Addr().(*net.TCPAddr).Port - 2, 5}
	seen := make(map[int]bool)
	for {
		port, err := Port(r)
		if err != nil {
			break // all are given
		}
		if seen[port] || port < r.first || port >= r.first+r.size || address(port) == taken.Addr().String() {
			t.Errorf("port %d of %+v, after %v", port, r, seen)
		}
		seen[port] = true
	}
	if len(seen) == 0 {
		t.Error("no port was given")
	}
}

func TestRanges_areApartAndBelowTheSystems(t *testing.T) {
	all := []Range{Redis, Caddymodule, CmdCaddy, CmdDemo, CmdBench}
	for i, r := range all {
		// Linux begins at 32768, others higher.
		if r.first < 1024 || r.first+r.size > 32_768 {
			t.Errorf("%+v", r)
		}
		for _, o := range all[:i] {
			if r.first < o.first+o.size && o.first < r.first+r.size {
				t.Errorf("%+v and %+v overlap", r, o)
			}
		}
	}
}
