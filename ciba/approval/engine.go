package approval

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

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
	waiters  waiters
	slots    chan struct{} // one for each poll under way
	freed    chan struct{} // tells the poller of a free slot

	run    context.Context // ends when no new work is to be taken
	stop   context.CancelFunc
	finish context.Context // ends when work under way is to be given up
	abort  context.CancelFunc
	work   sync.WaitGroup
}

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
		freed:    make(chan struct{}, 1),
	}
	if e.logger == nil {
		e.logger = slog.New(slog.DiscardHandler)
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
	e.stop()
	giveUp := time.AfterFunc(closeTime, e.abort)
	e.work.Wait()
	giveUp.Stop()
	e.abort()
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
	IP string

	// LoA is the level of assurance that the ID token must show at least.
	LoA ciba.LoA

	// Remember is how long an approval under a binding without fingerprint is
	// good, counted from the answer. One-time approvals ignore it.
	Remember time.Duration
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
}

// The names of the sealed fields.
const (
	planField    = "plan"
	outcomeField = "outcome"
)

// Find returns the approval for a binding, or [ErrNotFound].
func (e *Engine) Find(ctx context.Context, b Binding) (Approval, error) {
	if err := b.check(); err != nil {
		return Approval{}, err
	}
	owner, key := e.keys.place(b)
	rec, err := e.store.Get(ctx, owner, key)
	if err != nil {
		return Approval{}, storeError("reading an approval", err)
	}
	return e.view(rec), nil
}

// FindHandle returns the approval that a handle names, if it belongs to this
// session and person, and [ErrNotFound] otherwise.
func (e *Engine) FindHandle(ctx context.Context, s Session, uuid, handle string) (Approval, error) {
	id, key, ok := parseHandle(handle)
	if !ok || !s.Valid() {
		return Approval{}, ErrNotFound
	}
	rec, err := e.store.Get(ctx, e.keys.ownerOf(uuid), key)
	if err != nil {
		return Approval{}, storeError("reading an approval", err)
	}
	own := tag(e.keys.session, s.secret[:])
	if rec.ID != id || subtle.ConstantTimeCompare(rec.Session[:], own[:]) != 1 {
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
// returned as it is. An approval that could not be started is returned as it
// ended; an error means that nothing was started. ctx does not bound the start
// itself: once somebody's phone may ring, the record of it is made.
func (e *Engine) Begin(ctx context.Context, b Binding, restart string, ask func() (Ask, error)) (Approval, error) {
	found, err := e.Find(ctx, b)
	switch {
	case err == nil && (found.State.Live() || restart == "" || found.ID != restart):
		return found, nil
	case err != nil && !errors.Is(err, ErrNotFound):
		return Approval{}, err
	}
	a, err := ask()
	if err != nil {
		return Approval{}, err
	}

	ref := Ref{ID: rand.Text()}
	ref.Owner, ref.Key = e.keys.place(b)
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
		IP:            a.IP,
		Action:        a.Action,
		ReferenceID:   ref.ID,
		Nonce:         p.Nonce,
	}.Plain()
	if err != nil {
		return Approval{}, err
	}
	sealed, err := sealJSON(e.keys.seal, ref, planField, p)
	if err != nil {
		return Approval{}, err
	}

	// The poll is scheduled before the record exists: if this gateway dies in
	// between, the queue holds a name that means nothing. The other way round,
	// nobody would ever look after the record.
	if err := e.store.Schedule(ctx, ref, startTime); err != nil {
		return Approval{}, storeError("scheduling polls", err)
	}
	rec, created, err := e.store.Create(ctx, New{
		Ref:     ref,
		Session: tag(e.keys.session, b.Session.secret[:]),
		Plan:    sealed,
		Lasts:   startTime,
		Keep:    keepTime,
		Replace: restart,
	})
	if err != nil {
		return Approval{}, storeError("creating an approval", err)
	}
	if !created {
		return e.view(rec), nil
	}
	return e.start(context.WithoutCancel(ctx), rec, p, hint)
}

// start asks the provider, once, and records what it said.
func (e *Engine) start(ctx context.Context, rec Record, p plan, hint string) (Approval, error) {
	started, err := e.provider.Start(ctx, ciba.Request{LoginHintToken: hint})
	if err != nil {
		c := startFailure(err)
		c.Ref = rec.Ref
		e.logEnd(ctx, rec.ID, c, err)
		ended, err := e.change(ctx, c)
		if err != nil && !isTransition(err) {
			return Approval{}, storeError("recording a start that failed", err)
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
	begun, err := e.changeWithin(ctx, startTime/3, Change{
		Ref:      rec.Ref,
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
		if te := (*TransitionError)(nil); errors.As(err, &te) {
			return e.view(begun), nil
		}
		return Approval{}, storeError("recording a start", err)
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
		rec, err := e.store.Get(ctx, a.Owner, a.Key)
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

// Use lets a request pass: it returns the grant of an approved approval. A
// one-time approval is spent by it, once, over all gateways; whatever happens
// to the request afterwards, it stays spent. It returns [ErrNotApproved] for
// an approval that is not good, or not good for this binding.
func (e *Engine) Use(ctx context.Context, b Binding, a Approval) (Grant, error) {
	if err := b.check(); err != nil {
		return Grant{}, err
	}
	owner, key := e.keys.place(b)
	if a.Owner != owner || a.Key != key || a.State != Approved {
		return Grant{}, ErrNotApproved
	}
	var o outcome
	if err := openJSON(e.keys.seal, a.Ref, outcomeField, a.record.Outcome, &o); err != nil {
		e.logger.LogAttrs(ctx, slog.LevelError, "refusing an approval that no gateway with this secret has granted",
			slog.String("approval_id", a.ID), slog.Any("error", err))
		return Grant{}, ErrNotApproved
	}
	if b.oneTime() {
		_, err := e.change(ctx, Change{Ref: a.Ref, Event: EventSpend, Keep: keepTime})
		switch {
		case errors.Is(err, ErrNotFound), isTransition(err):
			return Grant{}, ErrNotApproved
		case err != nil:
			return Grant{}, storeError("spending an approval", err)
		}
		e.logger.LogAttrs(ctx, slog.LevelInfo, "approval used", slog.String("approval_id", a.ID))
		if err := e.store.Unpark(ctx, a.Ref); err != nil {
			e.logger.LogAttrs(ctx, slog.LevelWarn, "forgetting a parked body: it goes with its approval",
				slog.String("approval_id", a.ID), slog.Any("error", err))
		}
	}
	return Grant{ApprovalID: a.ID, UUID: o.UUID, TransactionID: o.TransactionID, ApprovedAt: o.ApprovedAt}, nil
}

// Cancel calls an approval off, here and, in the background, at the provider.
// It returns the approval as it is then: one that has ended stays as it ended.
func (e *Engine) Cancel(ctx context.Context, a Approval) (Approval, error) {
	rec, err := e.change(ctx, Change{Ref: a.Ref, Event: EventCancel, Keep: keepTime})
	switch {
	case isTransition(err):
		return e.view(rec), nil
	case err != nil:
		return a, storeError("cancelling an approval", err)
	}
	e.logger.LogAttrs(ctx, slog.LevelInfo, "approval cancelled", slog.String("approval_id", a.ID))
	var p plan
	if a.State == Pending && openJSON(e.keys.seal, rec.Ref, planField, rec.Plan, &p) == nil {
		e.cancelAtProvider(context.WithoutCancel(ctx), rec.ID, p.AuthReqID)
	}
	return e.view(rec), nil
}

// cancelAtProvider takes the question off the person's phone. It is a
// courtesy: nothing depends on it.
func (e *Engine) cancelAtProvider(ctx context.Context, id, authReqID string) {
	e.work.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, cancelTime)
		defer cancel()
		if err := e.provider.Cancel(ctx, authReqID); err != nil {
			e.logger.LogAttrs(ctx, slog.LevelWarn, "cancelling at the provider: the phone may go on showing the request",
				slog.String("approval_id", id), slog.Any("error", err))
		}
	})
}

// view is a record as a caller may see it.
func (e *Engine) view(rec Record) Approval {
	a := Approval{Ref: rec.Ref, State: rec.State, Reason: rec.Reason, Interval: rec.Interval, record: rec}
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

// change makes a change and tells the waiters here; the store tells the other
// gateways.
func (e *Engine) change(ctx context.Context, c Change) (Record, error) {
	if c.Op == "" {
		c.Op = rand.Text()
	}
	rec, err := e.store.Change(ctx, c)
	if err == nil {
		e.waiters.tell(c.ID)
	}
	return rec, err
}

// changeWithin is change, again and again until the store answers or the time
// is over.
func (e *Engine) changeWithin(ctx context.Context, within time.Duration, c Change) (Record, error) {
	c.Op = rand.Text()
	end := time.NewTimer(within)
	defer end.Stop()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		rec, err := e.change(ctx, c)
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
	if pe := (*ciba.Error)(nil); errors.As(cause, &pe) && pe.Description != "" {
		attrs = append(attrs, slog.String("description", pe.Description))
	}
	switch c.Reason {
	case "":
		e.logger.LogAttrs(ctx, slog.LevelInfo, "approval ended", attrs...)
	case ReasonMisconfigured:
		e.logger.LogAttrs(ctx, slog.LevelError,
			"approval ended: the provider does not accept this client: check client_id, client_secret, client_auth and scope", attrs...)
	case ReasonAnswerLost, ReasonUnreadable:
		e.logger.LogAttrs(ctx, slog.LevelError, "approval ended: its answer is lost and the person must ask again", attrs...)
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
