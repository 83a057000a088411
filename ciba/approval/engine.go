package approval

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/caddy-stepup/stepup/ciba"
)

const (
	// startTime is how long a start may take. The client gives up sooner; a
	// record that is still Starting after this was left behind.
	startTime = 30 * time.Second

	// useTime is how long a one-time approval waits for its request, as long
	// as the broker's ID tokens are valid.
	useTime = 5 * time.Minute

	// keepTime is how long an ended approval is remembered: in this time, the
	// same request is told what happened and starts nothing by itself. For one
	// that was used it begins when it could last have been.
	keepTime = 10 * time.Minute

	// RetryTime is how long a start that failed for want of the provider is
	// remembered; after it, the same request may start anew.
	RetryTime = 30 * time.Second

	// rereadTime is how often a waiting request reads its approval although no
	// news came: news can be lost.
	rereadTime = 10 * time.Second

	// presenceTime is how long after its last sign a client is taken to wait:
	// long enough for a browser that sleeps while its user is in the MitID app
	// on the same phone. Then the question is taken back.
	presenceTime = 2 * time.Minute

	// unaskedTime is how long a start that ended before anybody was asked is
	// remembered, for the requests that have joined it.
	unaskedTime = time.Second

	// lateTime is how long a call of the store whose answer did not come may still
	// be on its way.
	lateTime = 5 * time.Second

	// clockTolerance is how far the clocks of gateways may differ before
	// approvals of one are refused at another.
	clockTolerance = 5 * time.Minute

	// cancelTime bounds a cancellation at the provider.
	cancelTime = 10 * time.Second
)

// The errors of an Engine, besides [ErrNotFound] and [ErrFull].
var (
	// ErrStore says that the store could not be reached or is not well.
	ErrStore = errors.New("approval store unavailable")

	errClosing = fmt.Errorf("%w: closing", ErrStore)

	// ErrNotApproved says that an approval cannot be used: it is not approved,
	// not any more, or it was used already.
	ErrNotApproved = errors.New("not approved")
)

// Provider is what the engine needs of a CIBA provider. [*ciba.Client] is one.
type Provider interface {
	Start(ctx context.Context, r ciba.Request) (ciba.Started, error)
	Poll(ctx context.Context, authReqID string) (ciba.Tokens, error)
	Verify(ctx context.Context, t ciba.Tokens, e ciba.Expect) (ciba.Identity, error)
	Cancel(ctx context.Context, authReqID string) error
}

// Config configures an Engine.
type Config struct {
	// Provider is asked; required.
	Provider Provider

	// Store remembers; required. The engine does not close it.
	Store Store

	// Secret protects what lies in the store. All engines on a store have the
	// same; at least 16 bytes.
	Secret []byte

	// Logger gets decisions and trouble, without personal data. It defaults to
	// one that discards.
	Logger *slog.Logger

	// UserRate and AddressRate are the budgets of starts for one person and
	// from one client address, where an IPv6 address counts with all of its
	// /64. The defaults are [DefaultUserRate] and [DefaultAddressRate]; a
	// negative Burst is no limit.
	UserRate, AddressRate Rate

	// MaxPolls bounds the polls that are under way at once, 256 by default.
	MaxPolls int
}

// Engine starts approvals, waits for them, collects their answers and lets
// them be used. It is safe for concurrent use.
type Engine struct {
	provider Provider
	store    Store
	keys     keys
	logger   *slog.Logger
	user     Rate
	address  Rate
	waiters  waiters
	memory   memory
	ended    ended
	starts   singleflight.Group
	slots    chan struct{} // one for each poll under way
	freed    chan struct{} // tells the poller of a free slot

	dismissed chan struct{} // closed when nobody is to wait any more
	dismiss   func()

	unrest unrest

	run    context.Context // ends when no new work is to be taken
	stop   context.CancelFunc
	finish context.Context // ends when work under way is to be given up
	abort  context.CancelFunc
	work   sync.WaitGroup

	closing sync.Mutex // held while it is decided whether work may begin
}

// String hides the keys.
func (*Engine) String() string { return "approval.Engine{…}" }

// GoString hides the keys.
func (e *Engine) GoString() string { return e.String() }

// NewEngine returns an engine that polls until Close.
func NewEngine(c Config) (*Engine, error) {
	k, err := deriveKeys(c.Secret)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		provider: c.Provider,
		store:    c.Store,
		keys:     k,
		logger:   c.Logger,
		user:     c.UserRate,
		address:  c.AddressRate,
		freed:    make(chan struct{}, 1),
	}
	if e.logger == nil {
		e.logger = slog.New(slog.DiscardHandler)
	}
	if e.user == (Rate{}) {
		e.user = DefaultUserRate
	}
	if e.address == (Rate{}) {
		e.address = DefaultAddressRate
	}
	if c.MaxPolls <= 0 {
		c.MaxPolls = 256
	}
	e.slots = make(chan struct{}, c.MaxPolls)
	e.dismissed = make(chan struct{})
	e.dismiss = sync.OnceFunc(func() { close(e.dismissed) })
	e.unrest.note() // the store may have gone back in time just before
	e.run, e.stop = context.WithCancel(context.Background())
	e.finish, e.abort = context.WithCancel(context.Background())
	e.work.Go(e.listen)
	e.work.Go(e.poller)
	return e, nil
}

// Close stops polling. Polls under way get a few seconds to bring their answer
// home, for a final answer comes once; what is pending then waits in the store
// for another engine.
func (e *Engine) Close() {
	e.closing.Lock()
	e.stop()
	e.closing.Unlock()
	giveUp := time.AfterFunc(closeTime, e.abort)
	e.work.Wait()
	giveUp.Stop()
	e.abort()
}

// enter counts work that Close waits for, unless the engine is closing. It is
// ended by e.work.Done.
func (e *Engine) enter() bool {
	e.closing.Lock()
	defer e.closing.Unlock()
	if e.run.Err() != nil {
		return false
	}
	e.work.Add(1)
	return true
}
