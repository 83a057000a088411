package caddymodule

import (
	"errors"
	"io"
	"sync"
)

const (
	defaultMaxHeld   = 10_000
	defaultMaxBodies = 256 << 20

	// leastHeld is how many requests of one person may always be held.
	leastHeld = 8
)

// sharers is how many persons it takes to take all the room there is: nobody gets
// more than this part of it, so that nobody can shut out all others.
const sharers = 16

// inUse is what requests at the gates take of this process's memory. It counts
// over all configurations, because requests outlive theirs.
var inUse struct {
	held   room // requests held open
	bodies room // bytes of bodies that were read
}

// room is an amount of something that persons take parts of.
type room struct {
	mu       sync.Mutex
	all      int64
	byPerson map[string]int64 // by MitID UUID
}

// take takes n for a person, unless all would have more than limit then, or the
// person more than their part of it. least is what a person may always have.
func (r *room) take(person string, n, limit, least int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all+n > limit || r.byPerson[person]+n > max(limit/sharers, least) {
		return false
	}
	if r.byPerson == nil {
		r.byPerson = make(map[string]int64)
	}
	r.all += n
	r.byPerson[person] += n
	return true
}

// give gives back what take took.
func (r *room) give(person string, n int64) {
	if n == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all -= n
	if r.byPerson[person] -= n; r.byPerson[person] == 0 {
		delete(r.byPerson, person)
	}
}

var (
	errNoSeat = errors.New("as many requests are held as max_held allows, or its part for one person")
	errNoRoom = errors.New("request bodies take as much memory as max_bodies allows, or its part for one person")
)

// sit tells whether the request may be held. It keeps its seat until leave.
func (v *visit) sit() bool {
	v.seated = v.seated || inUse.held.take(v.uuid, 1, v.app.maxHeld, leastHeld)
	return v.seated
}

// take tells whether there is room for n more bytes of the request's body. They
// take it until they are given back: by leave, or by the passage.
func (v *visit) take(n int64) bool {
	if !inUse.bodies.take(v.uuid, n, v.app.maxBodies, v.MaxBody) {
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
		inUse.held.give(v.uuid, 1)
	}
	if p != nil {
		p.person, p.taken = v.uuid, v.taken
	} else {
		inUse.bodies.give(v.uuid, v.taken)
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
