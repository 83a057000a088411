package approval

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
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
	// same request is told what happened and starts nothing by itself.
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

	// limitedTime is how long a start that a budget refused is remembered, for
	// the requests that have joined it.
	limitedTime = time.Second

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

// The default budgets, and the pause after a refusal: whoever has just said no
// is not to be asked again and again until they say yes.
var (
	DefaultUserRate    = Rate{Burst: 5, Per: 2 * time.Minute}
	DefaultAddressRate = Rate{Burst: 30, Per: 10 * time.Second}

	refusalPenalty = Penalty{First: 30 * time.Second, Longest: 15 * time.Minute, Memory: time.Hour}

	// cancelPenalty is for calling off what a person is being asked: they may
	// have said no already, and that is not known before the next poll.
	cancelPenalty = Penalty{Free: 2, First: refusalPenalty.First, Longest: refusalPenalty.Longest, Memory: refusalPenalty.Memory}
)

// LimitError says that a budget is spent, or that the person has just refused.
type LimitError struct {
	// Wait is how long it is until a start may be tried again.
	Wait time.Duration
}

// Error tells the wait.
func (e *LimitError) Error() string {
	return fmt.Sprintf("too many approvals were asked for: wait %s", e.Wait.Round(time.Second))
}

// ConflictError says that the person is being asked for something else under
// the same policy.
type ConflictError struct {
	// Other is what they are being asked. Its text is empty when it belongs to
	// another session.
	Other Approval
}

// Error says what is the matter.
func (e *ConflictError) Error() string { return ErrBusy.Error() }

// Is makes the error match [ErrBusy].
func (e *ConflictError) Is(target error) bool { return target == ErrBusy }

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
	starts   singleflight.Group
	slots    chan struct{} // one for each poll under way
	freed    chan struct{} // tells the poller of a free slot

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

// Ask is what to ask the person.
type Ask struct {
	// Text is shown on the phone, as it is.
	Text string

	// Code is the check code that the text contains, so that it can be shown
	// beside it; it may be empty.
	Code string

	// Action is the heading in the MitID app; see [ciba.MitIDHint].
	Action string

	// IP is the client's address; the provider uses it as risk data.
	IP netip.Addr

	// LoA is the level of assurance that the ID token must show at least.
	LoA ciba.LoA

	// Remember is how long an approval under a binding without fingerprint is
	// good, counted from the answer. One-time approvals ignore it.
	Remember time.Duration

	// Supersede calls off what the person is being asked under the same
	// policy. Without it, that stands, and Begin returns a [ConflictError].
	Supersede bool
}

// Approval is an approval as it was when it was read.
type Approval struct {
	Ref
	State  State
	Reason Reason

	// Text and Code are what was sent to the phone, Code apart from the text
	// that contains it.
	Text, Code string

	// ExpiresAt is when the person's time to answer ends.
	ExpiresAt time.Time

	// Left is how much longer the state lasts, by the store's clock.
	Left time.Duration

	// Interval is how often the provider may be asked.
	Interval time.Duration

	record Record
}

// Grant is the proof that a request may pass: approved, verified, unused.
type Grant struct {
	// ApprovalID is random and public.
	ApprovalID string
	// UUID is the MitID UUID that the ID token named.
	UUID string
	// TransactionID is MitID's.
	TransactionID string
	// ApprovedAt is when the person approved, as the ID token says.
	ApprovedAt time.Time
}

// plan is what an engine must know to collect an answer. It is sealed.
type plan struct {
	AuthReqID string        `json:"auth_req_id,omitempty"`
	UUID      string        `json:"uuid"`
	Text      string        `json:"text"`
	Code      string        `json:"code,omitempty"`
	Nonce     string        `json:"nonce"`
	LoA       ciba.LoA      `json:"loa,omitempty"`
	StartedAt time.Time     `json:"started_at"`
	ExpiresAt time.Time     `json:"expires_at"`
	Remember  time.Duration `json:"remember,omitempty"`
}

// outcome is the proof in the store that an approval was granted. It is
// sealed.
type outcome struct {
	UUID          string    `json:"uuid"`
	TransactionID string    `json:"transaction_id,omitempty"`
	ApprovedAt    time.Time `json:"approved_at"`
	// GoodUntil is when the store is to end the approval. The store knows; this
	// is for a store that somebody has set back.
	GoodUntil time.Time `json:"good_until"`
}

// The names of the sealed fields.
const (
	planField    = "plan"
	outcomeField = "outcome"
)

// Find returns the approval for a binding, or [ErrNotFound]. Whoever asks is
// taken to wait for the answer.
func (e *Engine) Find(ctx context.Context, b Binding) (Approval, error) {
	if err := b.check(); err != nil {
		return Approval{}, err
	}
	owner, key := e.keys.place(b)
	rec, err := e.store.Touch(ctx, owner, key, presenceTime)
	if err != nil {
		return Approval{}, storeError("reading an approval", err)
	}
	return e.view(rec), nil
}

// FindHandle returns the approval that a handle names, if it belongs to this
// session and person, and [ErrNotFound] otherwise. Where it has been started
// over, that is the new one, with another ID: a page that was left open, or is
// loaded again, goes on with what has become of its request.
func (e *Engine) FindHandle(ctx context.Context, s Session, uuid, handle string) (Approval, error) {
	_, key, ok := parseHandle(handle)
	if !ok || !s.Valid() {
		return Approval{}, ErrNotFound
	}
	rec, err := e.store.Touch(ctx, e.keys.ownerOf(uuid), key, presenceTime)
	if err != nil {
		return Approval{}, storeError("reading an approval", err)
	}
	own := tag(e.keys.session, s.secret[:])
	if subtle.ConstantTimeCompare(rec.Session[:], own[:]) != 1 {
		return Approval{}, ErrNotFound
	}
	return e.view(rec), nil
}

// Begin returns the approval for a binding, and starts one where there is
// none. Identical requests that come at the same time, at this gateway or
// another, join the same approval. One that has ended stays as it is until it
// is forgotten, unless restart is its ID: then the person has asked to start
// over.
//
// ask is called when something is to be started, and an error of it is
// returned as it is. A [*ConflictError] or [*LimitError] says why nothing may
// be started now. An approval that could not be started is returned as it
// ended; an error means that nothing was started. ctx does not bound the start
// itself: once somebody's phone may ring, the record of it is made.
func (e *Engine) Begin(ctx context.Context, b Binding, restart string, ask func() (Ask, error)) (Approval, error) {
	if err := b.check(); err != nil {
		return Approval{}, err
	}
	ref := Ref{ID: rand.Text()}
	ref.Owner, ref.Key = e.keys.place(b)
	rec, err := e.store.Touch(ctx, ref.Owner, ref.Key, presenceTime)
	switch {
	case err == nil && (rec.State.Live() || restart == "" || rec.ID != restart):
		return e.view(rec), nil
	case err != nil && !errors.Is(err, ErrNotFound):
		return Approval{}, storeError("reading an approval", err)
	}
	a, err := ask()
	if err != nil {
		return Approval{}, err
	}
	// Identical requests of this gateway share one start, and so one draw on
	// the budgets. It belongs to the engine: the client may go.
	begun := e.starts.DoChan(string(ref.Key[:])+restart, func() (any, error) {
		if !e.enter() {
			return Approval{}, fmt.Errorf("%w: closing", ErrStore)
		}
		defer e.work.Done()
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		defer context.AfterFunc(e.finish, cancel)()
		return e.begin(ctx, b, ref, restart, a)
	})
	select {
	case r := <-begun:
		return r.Val.(Approval), r.Err
	case <-ctx.Done():
		return Approval{}, ctx.Err()
	}
}

// begin starts an approval, unless another gateway does so at the same time.
func (e *Engine) begin(ctx context.Context, b Binding, ref Ref, restart string, a Ask) (Approval, error) {
	p := plan{
		UUID:      b.UUID,
		Text:      a.Text,
		Code:      a.Code,
		Nonce:     rand.Text(),
		LoA:       a.LoA,
		StartedAt: time.Now(),
	}
	if !b.oneTime() {
		if a.Remember <= 0 {
			return Approval{}, errors.New("an approval without fingerprint needs a time to be remembered")
		}
		p.Remember = a.Remember
	}
	hint, err := ciba.MitIDHint{
		UUID:          b.UUID,
		ReferenceText: a.Text,
		IP:            a.IP.String(),
		Action:        a.Action,
		ReferenceID:   ref.ID,
		Nonce:         p.Nonce,
	}.Plain()
	if err != nil {
		return Approval{}, err
	}
	if restart != "" {
		// Before the ended record is replaced: it must stay if the budget says
		// no, for it is what keeps the request from starting by itself.
		if err := e.take(ctx, ref.Owner, a.IP); err != nil {
			return Approval{}, err
		}
	}
	paid := restart != ""
	rec, created, err := e.create(ctx, b, ref, restart, p)
	if other := rec; errors.Is(err, ErrBusy) && a.Supersede {
		if !paid {
			// Before the other is called off: what cannot be asked for must
			// not take the place of what is.
			if err := e.take(ctx, ref.Owner, a.IP); err != nil {
				return Approval{}, err
			}
			paid = true
		}
		if _, err := e.Cancel(ctx, e.view(other)); err != nil {
			return Approval{}, err
		}
		rec, created, err = e.create(ctx, b, ref, restart, p)
	}
	switch {
	case errors.Is(err, ErrBusy):
		other := e.view(rec)
		if rec.Session != tag(e.keys.session, b.Session.secret[:]) {
			other.Text, other.Code = "", ""
		}
		return Approval{}, &ConflictError{other}
	case err != nil:
		return Approval{}, storeError("creating an approval", err)
	case !created:
		return e.view(rec), nil
	}
	if !paid {
		// After the record exists: of requests that come together, one draws
		// on the budget, and a person who is being asked draws no more.
		if err := e.take(ctx, ref.Owner, a.IP); err != nil {
			c := Change{Event: EventFail, Reason: ReasonLimited, Keep: limitedTime}
			if _, changeErr := e.change(ctx, rec, c); changeErr != nil && !isTransition(changeErr) {
				return Approval{}, storeError("recording a start that was refused", changeErr)
			}
			return Approval{}, err
		}
	}
	return e.start(ctx, rec, p, hint)
}

// create makes the record of a start.
func (e *Engine) create(ctx context.Context, b Binding, ref Ref, restart string, p plan) (Record, bool, error) {
	sealed, err := sealJSON(e.keys.seal, ref, planField, p)
	if err != nil {
		return Record{}, false, err
	}
	// The poll is scheduled before the record exists: if this gateway dies in
	// between, the queue holds a name that means nothing. The other way round,
	// nobody would ever look after the record.
	if err := e.store.Schedule(ctx, ref, startTime); err != nil {
		return Record{}, false, err
	}
	return e.store.Create(ctx, New{
		Ref:      ref,
		Session:  tag(e.keys.session, b.Session.secret[:]),
		Slot:     e.keys.slotOf(b),
		Plan:     sealed,
		Presence: presenceTime,
		Lasts:    startTime,
		Keep:     keepTime,
		Replace:  restart,
	})
}

// take draws on the budgets of the person and of the address.
func (e *Engine) take(ctx context.Context, owner Tag, ip netip.Addr) error {
	for _, budget := range []struct {
		counter Tag
		rate    Rate
	}{
		// The person first: one who may not be asked costs the address nothing.
		{owner, e.user},
		{e.keys.addressOf(ip), e.address},
	} {
		if budget.rate.Burst < 0 {
			// Without a budget, there is still the pause after a refusal.
			budget.rate = Rate{Burst: 1}
		}
		wait, err := e.store.Take(ctx, budget.counter, budget.rate)
		switch {
		case err != nil:
			return storeError("counting starts", err)
		case wait > 0:
			return &LimitError{wait}
		}
	}
	return nil
}

// start asks the provider, once, and records what it said.
func (e *Engine) start(ctx context.Context, rec Record, p plan, hint string) (Approval, error) {
	started, err := e.provider.Start(ctx, ciba.Request{LoginHintToken: hint})
	if err != nil {
		c := startFailure(err)
		e.logEnd(ctx, rec.ID, c, err)
		ended, err := e.change(ctx, rec, c)
		if err != nil && !isTransition(err) {
			return Approval{}, storeError("recording a start that failed", err)
		}
		if c.Event == EventDeny {
			e.leaveAlone(ctx, rec, refusalPenalty)
		}
		return e.view(ended), nil
	}

	p.AuthReqID, p.StartedAt = started.AuthReqID, started.SentAt
	p.ExpiresAt = started.SentAt.Add(started.ExpiresIn)
	sealed, err := sealJSON(e.keys.seal, rec.Ref, planField, p)
	if err != nil {
		e.cancelAtProvider(ctx, rec.ID, started.AuthReqID)
		return Approval{}, err
	}
	begun, err := e.changeWithin(ctx, startTime/3, rec, Change{
		Event:    EventStarted,
		Plan:     sealed,
		Interval: started.Interval,
		// One interval more than the provider gives: an answer of the last
		// moment is still collected.
		Lasts: started.ExpiresIn - time.Since(started.SentAt) + started.Interval,
		Keep:  keepTime,
	})
	if err != nil {
		// Nobody would ever collect the answer: take the question back.
		e.cancelAtProvider(ctx, rec.ID, started.AuthReqID)
		if isTransition(err) {
			return e.view(begun), nil
		}
		// The phone may have rung: the same request is to come back to this
		// approval, which ends by itself, and not to start another.
		e.logger.LogAttrs(ctx, slog.LevelError, "recording a start: the question is taken back, and the person must ask again",
			slog.String("approval_id", rec.ID), slog.Any("error", err))
		failed := e.view(rec)
		failed.State, failed.Reason = Failed, ReasonUnavailable
		return failed, nil
	}
	e.logger.LogAttrs(ctx, slog.LevelInfo, "approval started", slog.String("approval_id", rec.ID))
	if err := e.store.Schedule(ctx, rec.Ref, started.Interval); err != nil {
		// The first schedule is still there: polls begin later, that is all.
		e.logger.LogAttrs(ctx, slog.LevelWarn, "scheduling the first poll: it comes late",
			slog.String("approval_id", rec.ID), slog.Any("error", err))
	}
	return e.view(begun), nil
}

// startFailure says how a start ended that the provider did not acknowledge.
func startFailure(err error) Change {
	switch {
	case errors.Is(err, ciba.ErrDenied):
		return Change{Event: EventDeny, Keep: keepTime}
	case errors.Is(err, ciba.ErrUnknownUser):
		return Change{Event: EventFail, Reason: ReasonUnknownUser, Keep: RetryTime}
	case errors.Is(err, ciba.ErrConfiguration):
		return Change{Event: EventFail, Reason: ReasonMisconfigured, Keep: RetryTime}
	case errors.Is(err, ciba.ErrProvider):
		return Change{Event: EventFail, Reason: ReasonProvider, Keep: keepTime}
	default:
		return Change{Event: EventFail, Reason: ReasonUnavailable, Keep: RetryTime}
	}
}

// Wait returns when the person has answered, or it is over otherwise, or after
// at most the given time, with the approval as it then is. Trouble with the
// store is waited out; only when it lasts to the end it is returned.
func (e *Engine) Wait(ctx context.Context, a Approval, atMost time.Duration) (Approval, error) {
	news := e.waiters.add(a.ID)
	defer e.waiters.remove(a.ID, news)
	end := time.NewTimer(atMost)
	defer end.Stop()
	again := time.NewTimer(0)
	defer again.Stop()
	var trouble error
	for {
		select {
		case <-ctx.Done():
			return a, ctx.Err()
		case <-end.C:
			return a, trouble
		case <-e.run.Done():
			return a, trouble
		case <-news:
		case <-again.C:
		}
		rec, err := e.store.Touch(ctx, a.Owner, a.Key, presenceTime)
		switch {
		case errors.Is(err, ErrNotFound) || err == nil && rec.ID != a.ID:
			return a, ErrNotFound
		case err != nil:
			trouble = storeError("reading an approval", err)
			again.Reset(time.Second)
			continue
		}
		a, trouble = e.view(rec), nil
		if !a.State.Waiting() {
			return a, nil
		}
		// A state that lapses makes no news.
		again.Reset(min(rereadTime, max(rec.Left, time.Millisecond)))
	}
}

// Use lets a request pass if there is a good approval for its binding. A
// one-time approval is spent by it, once, over all gateways; whatever happens
// to the request afterwards, it stays spent.
//
// It returns [ErrNotFound] where there is no approval, and [ErrNotApproved]
// with the approval where that is not good, or not any more.
func (e *Engine) Use(ctx context.Context, b Binding) (Grant, Approval, error) {
	if err := b.check(); err != nil {
		return Grant{}, Approval{}, err
	}
	owner, key := e.keys.place(b)
	if !b.oneTime() {
		return e.recall(ctx, owner, key)
	}
	rec, spent, err := e.store.Spend(ctx, owner, key, rand.Text(), presenceTime, keepTime)
	switch {
	case err != nil:
		return Grant{}, Approval{}, storeError("spending an approval", err)
	case !spent:
		return Grant{}, e.view(rec), ErrNotApproved
	}
	g, err := e.grant(ctx, rec)
	if err != nil {
		return Grant{}, e.unproven(rec), err
	}
	e.logger.LogAttrs(ctx, slog.LevelInfo, "approval used", slog.String("approval_id", rec.ID))
	return g, e.view(rec), nil
}

// unproven is an approval that the store holds for granted, and no gateway has
// granted, or not for so long.
func (e *Engine) unproven(rec Record) Approval {
	a := e.view(rec)
	a.State, a.Reason = Failed, ReasonUnreadable
	return a
}

// grant reads the proof that an approval was granted.
func (e *Engine) grant(ctx context.Context, rec Record) (Grant, error) {
	var o outcome
	if err := openJSON(e.keys.seal, rec.Ref, outcomeField, rec.Outcome, &o); err != nil {
		e.logger.LogAttrs(ctx, slog.LevelError, "refusing an approval that no gateway with this secret has granted",
			slog.String("approval_id", rec.ID), slog.Any("error", err))
		return Grant{}, ErrNotApproved
	}
	if time.Since(o.GoodUntil) > clockTolerance {
		e.logger.LogAttrs(ctx, slog.LevelError, "refusing an approval that was over long ago: the store has been set back, or the clocks differ by minutes",
			slog.String("approval_id", rec.ID))
		return Grant{}, ErrNotApproved
	}
	return Grant{ApprovalID: rec.ID, UUID: o.UUID, TransactionID: o.TransactionID, ApprovedAt: o.ApprovedAt}, nil
}

// Cancel calls an approval off, here and, in the background, at the provider.
// It returns the approval as it is then: one that has ended stays as it ended.
func (e *Engine) Cancel(ctx context.Context, a Approval) (Approval, error) {
	cancelled, err := e.cancel(ctx, a.record, Change{Event: EventCancel, Keep: keepTime})
	if err == nil && a.record.State == Pending && cancelled.State == Cancelled {
		e.leaveAlone(ctx, a.record, cancelPenalty)
	}
	return cancelled, err
}

func (e *Engine) cancel(ctx context.Context, was Record, c Change) (Approval, error) {
	rec, err := e.change(ctx, was, c)
	switch {
	case isTransition(err):
		return e.view(rec), nil
	case err != nil:
		return e.view(was), storeError("cancelling an approval", err)
	}
	e.logEnd(ctx, rec.ID, c, nil)
	var p plan
	// A start that is under way takes its question back itself.
	if openJSON(e.keys.seal, rec.Ref, planField, rec.Plan, &p) == nil && p.AuthReqID != "" && was.State.Waiting() {
		e.cancelAtProvider(ctx, rec.ID, p.AuthReqID)
	}
	return e.view(rec), nil
}

// cancelAtProvider takes the question off the person's phone. It is a
// courtesy: nothing depends on it.
func (e *Engine) cancelAtProvider(ctx context.Context, id, authReqID string) {
	e.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTime)
		defer cancel()
		if err := e.provider.Cancel(ctx, authReqID); err != nil {
			e.logger.LogAttrs(ctx, slog.LevelWarn, "cancelling at the provider: the phone may go on showing the request",
				slog.String("approval_id", id), slog.Any("error", err))
		}
	})
}

// view is a record as a caller may see it.
func (e *Engine) view(rec Record) Approval {
	a := Approval{Ref: rec.Ref, State: rec.State, Reason: rec.Reason, Left: rec.Left, Interval: rec.Interval, record: rec}
	var p plan
	if err := openJSON(e.keys.seal, rec.Ref, planField, rec.Plan, &p); err != nil {
		if rec.State.Live() {
			a.State, a.Reason = Failed, ReasonUnreadable
		}
		return a
	}
	a.Text, a.Code, a.ExpiresAt = p.Text, p.Code, p.ExpiresAt
	return a
}

// change makes a change to a record and tells the waiters here; the store tells
// the other gateways.
func (e *Engine) change(ctx context.Context, rec Record, c Change) (Record, error) {
	c.Ref, c.Slot = rec.Ref, rec.Slot
	if c.Op == "" {
		c.Op = rand.Text()
	}
	rec, err := e.store.Change(ctx, c)
	if err == nil {
		e.tell(c.ID)
	}
	return rec, err
}

// changeWithin is change, again and again until the store answers or the time
// is over.
func (e *Engine) changeWithin(ctx context.Context, within time.Duration, was Record, c Change) (Record, error) {
	c.Op = rand.Text()
	end := time.NewTimer(within)
	defer end.Stop()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		rec, err := e.change(ctx, was, c)
		if err == nil || errors.Is(err, ErrNotFound) || isTransition(err) {
			return rec, err
		}
		select {
		case <-time.After(pause):
		case <-end.C:
			return rec, err
		case <-ctx.Done():
			return rec, err
		}
	}
}

// leaveAlone makes the person be left alone for a while.
func (e *Engine) leaveAlone(ctx context.Context, rec Record, p Penalty) {
	if err := e.store.Block(ctx, rec.Owner, p); err != nil {
		e.logger.LogAttrs(ctx, slog.LevelWarn, "counting a refusal: the pause after it is lost",
			slog.String("approval_id", rec.ID), slog.Any("error", err))
	}
}

// logEnd tells of an approval that has ended. cause is the reason that the
// provider or the verification gave, nil where the state says it all.
func (e *Engine) logEnd(ctx context.Context, id string, c Change, cause error) {
	attrs := []slog.Attr{slog.String("approval_id", id), slog.String("outcome", string(c.Event.To()))}
	if c.Reason != "" {
		attrs = append(attrs, slog.String("reason", string(c.Reason)))
	}
	if cause != nil {
		attrs = append(attrs, slog.Any("error", cause))
	}
	switch c.Reason {
	case "":
		e.logger.LogAttrs(ctx, slog.LevelInfo, "approval ended", attrs...)
	case ReasonMisconfigured:
		e.logger.LogAttrs(ctx, slog.LevelError,
			"approval ended: the provider does not accept this client: check client_id, client_secret, client_auth and scope", attrs...)
	case ReasonAnswerLost, ReasonUnreadable:
		e.logger.LogAttrs(ctx, slog.LevelError, "approval ended: its answer is lost and the person must ask again", attrs...)
	case ReasonAbandoned:
		e.logger.LogAttrs(ctx, slog.LevelInfo, "approval ended", attrs...)
	default:
		e.logger.LogAttrs(ctx, slog.LevelWarn, "approval ended", attrs...)
	}
}

func isTransition(err error) bool {
	te := (*TransitionError)(nil)
	return errors.As(err, &te)
}

// storeError marks trouble of the store, and passes on its answers.
func storeError(doing string, err error) error {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrFull) {
		return err
	}
	return fmt.Errorf("%s: %w: %w", doing, ErrStore, err)
}
