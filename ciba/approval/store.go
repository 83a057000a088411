package approval

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"
)

// Tag is a keyed hash of something that the store must be able to compare but
// not to read: the person, the session.
type Tag [16]byte

// String is the tag in base64url.
func (t Tag) String() string { return base64.RawURLEncoding.EncodeToString(t[:]) }

// Key is the binding of an approval: a keyed hash over everything that it is
// good for. See [Binding].
type Key [32]byte

// String is the key in base64url.
func (k Key) String() string { return base64.RawURLEncoding.EncodeToString(k[:]) }

// Ref names one approval.
type Ref struct {
	// Owner groups all records of one person, so that a store can keep them
	// together.
	Owner Tag
	// Key is what the approval is bound to. A store holds at most one record
	// for an owner and key.
	Key Key
	// ID is random and public. A new approval under the same key has a new ID.
	ID string
}

// Record is what a store keeps of an approval. It holds nothing that a reader
// of the store could use: see the package documentation.
type Record struct {
	Ref
	State  State
	Reason Reason

	// Session is compared before an approval is shown or continued by its
	// handle.
	Session Tag

	// Slot is what a person can be asked for only once at a time: the record
	// holds it while its state is Starting or Pending.
	Slot Tag

	// Interval is the least time between two polls.
	Interval time.Duration

	// Plan is the engine's sealed knowledge of the approval: what was sent,
	// and how to collect the answer.
	Plan []byte

	// Outcome is the engine's sealed proof that the approval was granted. The
	// store cannot make one.
	Outcome []byte

	// Left is how much longer the state lasts, by the store's clock, at the
	// time of the call that returned the record. It is not positive in ended
	// states.
	Left time.Duration

	// Present is how much longer somebody is taken to wait for the answer, as
	// Create and Touch have said, at the time of the call. It is not positive
	// when nobody is.
	Present time.Duration
}

// New is a record to be created, in state Starting.
type New struct {
	Ref
	Session Tag
	Slot    Tag
	Plan    []byte

	// Presence is how long the client that asks is taken to wait.
	Presence time.Duration
	// Lasts is how long the state Starting may last; after it, the record
	// reads as Failed with ReasonInterrupted.
	Lasts time.Duration
	// Keep is how long the record is kept after that.
	Keep time.Duration
	// Replace is the ID of an ended record under the same key that the person
	// has asked to start over; empty for none.
	Replace string
}

// Change asks for a transition.
type Change struct {
	Ref
	// Slot is the record's, which is freed unless somebody waits on.
	Slot   Tag
	Event  Event
	Reason Reason

	// Op is random and the same in every repetition of this change.
	Op string

	// Plan, Outcome and Interval replace the record's, unless they are zero.
	Plan     []byte
	Outcome  []byte
	Interval time.Duration

	// Lasts is how long the new state lasts, counted from now; 0 leaves the
	// end of a live state as it is.
	Lasts time.Duration
	// Keep is how long the record is kept after its state has ended or, in an
	// ended state, from now.
	Keep time.Duration
}

// Lease is the right to poll for one approval, until it lapses.
type Lease struct {
	Ref
	// Token is the store's; it tells this lease from later ones.
	Token int64
}

// Rate is a budget: Burst at once, and one more every Per.
type Rate struct {
	Burst int
	Per   time.Duration
}

// Penalty is a pause that doubles each time: First, twice First, and so on to
// Longest, after as many times as Free without one. Memory after the end of a
// pause, everything is forgotten.
type Penalty struct {
	Free                   int
	First, Longest, Memory time.Duration
}

// News is a message of a store's feed.
type News struct {
	// ID is the approval that has changed; empty when Gap or Lost is set.
	ID string
	// End is the op of the Change or Spend by which an approval that was good
	// has ended; empty for all other changes.
	End string
	// Gap says that the feed is up, and that messages may have been lost
	// before, unless Same is set: read again what matters.
	Gap bool
	// Trust is, in a Gap, how long may be relied on not having heard of a
	// change, where single messages can be lost without notice; 0 is for as
	// long as the feed is up.
	Trust time.Duration
	// Same says, in a Gap, that the feed comes from the same server as before,
	// which has not been away in between and is the only one there can be: it or
	// the way to it was only slow, it has forgotten nothing, and no message was
	// lost.
	Same bool
	// Lost says that no messages come at the moment: what relies on hearing of
	// changes must stop doing so. A Gap follows when they come again.
	Lost bool
}

// The errors of a store. Everything else that a store returns is trouble.
var (
	// ErrNotFound says that there is no such record, or that the one under the
	// key has another ID.
	ErrNotFound = errors.New("no such approval")

	// ErrLeaseLost says that a lease has lapsed and somebody else may have it.
	ErrLeaseLost = errors.New("lease lost")

	// ErrBusy says that another record holds the slot.
	ErrBusy = errors.New("the person is being asked already")

	// ErrFull says that a store takes no more records.
	ErrFull = errors.New("store is full")
)

// IncompleteError says that a part of the queue cannot be reached.
type IncompleteError struct {
	// Away names the part, and is not empty. When the name is another than
	// before, a part may be back, and may have gone back in time.
	Away string

	// Err is why.
	Err error
}

// Error says what is away.
func (e *IncompleteError) Error() string {
	return fmt.Sprintf("a part of the queue is away (%s): %v", e.Away, e.Err)
}

// Unwrap returns the reason.
func (e *IncompleteError) Unwrap() error { return e.Err }

// Store remembers approvals and the queue of polls. One store may serve any
// number of engines in any number of processes; its implementations pass the
// suite in package storetest.
//
// Time is the store's own: callers pass durations, and all engines on a store
// live by its clock, so that gateways whose clocks differ agree.
//
// Every method is atomic and safe for concurrent use. A method whose answer
// was lost may be called again with the same arguments: it then has no
// further effect and reports success (Create and Change recognise the ID and
// the Op). The exceptions are Unpark, which then finds nothing, Claim, whose
// leases lapse, and Take and Block, which may count twice.
//
// A record whose state has outlasted its time reads as ended, in every method,
// whether or not anybody has written that down: Starting as Failed with
// ReasonInterrupted, Pending and Approved as Expired.
//
// Slices in arguments and results belong to the caller.
type Store interface {
	// Create stores a new record unless there is one under its owner and key.
	// It returns the record that is there afterwards, and whether it is the
	// new one. An ended record is replaced when its ID is n.Replace, and only
	// then.
	//
	// Where another record of the owner holds the slot, nothing is created, and
	// that record is returned with ErrBusy. It returns ErrFull when the store
	// has no room.
	Create(ctx context.Context, n New) (Record, bool, error)

	// Get returns the record under an owner and key, or ErrNotFound.
	Get(ctx context.Context, owner Tag, key Key) (Record, error)

	// Touch is Get, and says that somebody will wait for at least so long. It
	// never makes the time shorter, and means nothing in a state that is not
	// Starting or Pending.
	Touch(ctx context.Context, owner Tag, key Key, presence time.Duration) (Record, error)

	// Change applies an event and returns the record as it is afterwards.
	// Where the state does not allow the event, the record is left alone and
	// returned with a [*TransitionError]. It returns ErrNotFound where there
	// is no such record.
	Change(ctx context.Context, c Change) (Record, error)

	// Spend uses an approval that is good for one request: where the state is
	// Approved, it applies EventSpend, forgets what is parked, and reports
	// true with the Ref, State and Outcome of the record; the record is kept for
	// as long as it would have been unspent. Otherwise it does what Touch does.
	// It is one round trip for what every one-time request that passes has to
	// do.
	//
	// op is random and the same in every repetition.
	Spend(ctx context.Context, owner Tag, key Key, op string, presence time.Duration) (Record, bool, error)

	// Park keeps a sealed request body beside a record until it is spent
	// or goes. It replaces what was parked before. It returns
	// ErrNotFound where there is no such record, ErrFull when the store has no
	// room.
	Park(ctx context.Context, ref Ref, sealed []byte) error

	// Parked returns what was parked, or ErrNotFound.
	Parked(ctx context.Context, ref Ref) ([]byte, error)

	// Unpark forgets what was parked. It returns ErrNotFound where nothing is:
	// of several who forget it at the same time, one is told that it was there.
	Unpark(ctx context.Context, ref Ref) error

	// Schedule puts an approval into the queue of polls, due after a pause,
	// or moves its due time, whoever holds a lease.
	Schedule(ctx context.Context, ref Ref, after time.Duration) error

	// Claim takes at most limit approvals that are due, each under a lease of
	// the given length, in the order in which they are due. It also returns
	// how long it is until the next one is due: 0 when there are more due now,
	// and a negative duration when the queue is empty. A store that reaches
	// only a part of its queue returns what is there, with an [*IncompleteError].
	Claim(ctx context.Context, limit int, lease time.Duration) ([]Lease, time.Duration, error)

	// Extend moves the end of a lease to so long from now: to go on working
	// under it, or to give the approval back to the queue, due then. It
	// returns the lease to use from then on, or ErrLeaseLost.
	Extend(ctx context.Context, l Lease, after time.Duration) (Lease, error)

	// Drop takes an approval out of the queue if the lease is still good. A
	// lease that is not is no error.
	Drop(ctx context.Context, l Lease) error

	// Take takes one from the budget of a counter. It returns 0, or how long it
	// is until there is one again. A Take that is repeated because its answer
	// was lost may take twice.
	Take(ctx context.Context, counter Tag, r Rate) (time.Duration, error)

	// Block makes Take refuse for a pause that is longer each time. A Block
	// that is repeated because its answer was lost may count twice.
	Block(ctx context.Context, counter Tag, p Penalty) error

	// Listen calls f for every record that has changed, whoever changed it,
	// until ctx ends; it returns after the last call. f must return quickly,
	// and is not called twice at the same time. The first message is a Gap,
	// sent when the feed is up. A feed that is not certain to be up any more
	// says so with Lost, within a second. When it has broken, Listen returns
	// why, and is to be called again.
	Listen(ctx context.Context, f func(News)) error

	// Close frees what the store holds. No other method may be called after.
	Close() error
}
