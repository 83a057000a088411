package caddymodule

import (
	"errors"
	"io"
	"sync/atomic"
)

const (
	defaultMaxHeld   = 10_000
	defaultMaxBodies = 256 << 20
)

// inUse is what requests at the gates take of this process's memory. It counts
// over all configurations, because requests outlive theirs.
var inUse struct {
	held   atomic.Int64 // requests held open
	bodies atomic.Int64 // bytes of bodies that were read
}

var (
	errNoSeat = errors.New("as many requests are held as max_held allows")
	errNoRoom = errors.New("request bodies take as much memory as max_bodies allows")
)

// claim adds n to what is in use, unless there would be more than limit.
func claim(used *atomic.Int64, n, limit int64) bool {
	if used.Add(n) <= limit {
		return true
	}
	used.Add(-n)
	return false
}

// sit tells whether the request may be held. It keeps its seat until leave.
func (v *visit) sit() bool {
	v.seated = v.seated || claim(&inUse.held, 1, v.app.maxHeld)
	return v.seated
}

// take tells whether there is room for n more bytes of the request's body. They
// take it until they are given back: by leave, or by the passage.
func (v *visit) take(n int64) bool {
	if !claim(&inUse.bodies, n, v.app.maxBodies) {
		return false
	}
	v.taken += n
	return true
}

// leave gives back what the request has taken. A passage takes the body along.
func (v *visit) leave(p *passage) {
	if v.engine != nil {
		v.app.release()
	}
	if v.seated {
		inUse.held.Add(-1)
	}
	if p != nil {
		p.taken = v.taken
	} else {
		inUse.bodies.Add(-v.taken)
	}
}

// roomy is a reader that takes the room that it needs as it reads, so that what
// a client only announces takes none.
type roomy struct {
	io.Reader
	take func(n int64) bool
}

// Read implements [io.Reader].
func (r roomy) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 && !r.take(int64(n)) {
		return 0, errNoRoom
	}
	return n, err
}
