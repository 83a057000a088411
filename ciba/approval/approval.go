package approval

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"log/slog"
	"time"

	"github.com/caddy-stepup/stepup/ciba"
)

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

	slot Tag // what the record has
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
	own := e.keys.session.tag(string(s.secret[:]))
	if subtle.ConstantTimeCompare(rec.Session[:], own[:]) != 1 {
		return Approval{}, ErrNotFound
	}
	return e.view(rec), nil
}

// Wait returns when the person has answered, or it is over otherwise, or after
// at most the given time, or when the engine dismisses who waits, with the
// approval as it then is. Trouble with the store is waited out; only when it
// lasts to the end, or longer than the approval's state, it is returned.
func (e *Engine) Wait(ctx context.Context, a Approval, atMost time.Duration) (Approval, error) {
	news := e.waiters.add(a.ID)
	defer e.waiters.remove(a.ID, news)
	end := time.Now().Add(atMost)
	lapses := time.Now().Add(a.Left)
	next := time.NewTimer(0)
	defer next.Stop()
	var trouble error
	for {
		select {
		case <-ctx.Done():
			return a, ctx.Err()
		case <-e.run.Done():
			return a, trouble
		case <-e.dismissed:
			return a, trouble
		case <-news:
		case <-next.C:
		}
		if atMost > 0 && !time.Now().Before(end) {
			return a, trouble
		}
		pause, err := e.look(ctx, &a)
		switch {
		case errors.Is(err, ErrNotFound):
			return a, err
		case err == nil && !a.State.Waiting():
			return a, nil
		case atMost <= 0 || err != nil && time.Now().After(lapses):
			return a, err
		case err == nil:
			lapses = time.Now().Add(a.Left)
		}
		trouble = err
		next.Reset(max(0, min(pause, time.Until(end))))
	}
}

// look reads again what an approval has become, for somebody who waits, and
// tells how long to go by that. What is not found or has been replaced is left
// as it was. It is apart from Wait so that thousands can wait on small stacks.
func (e *Engine) look(ctx context.Context, a *Approval) (time.Duration, error) {
	rec, err := e.store.Touch(ctx, a.Owner, a.Key, presenceTime)
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && rec.ID != a.ID:
		return 0, ErrNotFound
	case err != nil:
		return time.Second, storeError("reading an approval", err)
	}
	*a = e.view(rec)
	// A state that lapses makes no news.
	return min(rereadTime, max(rec.Left, time.Millisecond)), nil
}

// Dismiss lets go of all who wait, now and from now on: the process is about to
// end. The approvals stay as they are.
func (e *Engine) Dismiss() { e.dismiss() }

// Use lets a request pass if there is a good approval for its binding. A
// one-time approval is spent by it, once, over all gateways; whatever happens
// to the request afterwards, it stays spent.
//
// It returns [ErrNotFound] where there is no approval, and [ErrNotApproved]
// where that is not good, or not any more; only then the approval is returned.
func (e *Engine) Use(ctx context.Context, b Binding) (Grant, Approval, error) {
	return e.UseWithin(ctx, b, 0)
}

// UseWithin is [Engine.Use] for a request that has waited for its approval: it
// waits out trouble with the store for so long. The store may have spent the
// approval when only its answer was lost, and this very request may still have
// it then.
func (e *Engine) UseWithin(ctx context.Context, b Binding, within time.Duration) (Grant, Approval, error) {
	if err := b.check(); err != nil {
		return Grant{}, Approval{}, err
	}
	use := func() (Grant, Approval, error) { return e.recall(ctx, b) }
	if b.oneTime() {
		owner, key := e.keys.place(b)
		op := rand.Text()
		use = func() (Grant, Approval, error) { return e.spend(ctx, owner, key, op) }
	}
	g, a, err := use()
	if within <= 0 || !isTrouble(err) {
		return g, a, err
	}
	end := time.NewTimer(within)
	defer end.Stop()
	for {
		select {
		case <-time.After(retryTime):
		case <-end.C:
			return g, a, err
		case <-e.dismissed:
			return g, a, err
		case <-ctx.Done():
			return g, a, err
		}
		if g, a, err = use(); !isTrouble(err) {
			return g, a, err
		}
	}
}

// isTrouble tells whether an error of Use may go away by itself.
func isTrouble(err error) bool { return errors.Is(err, ErrStore) || errors.Is(err, ErrFull) }

// retryTime is how long UseWithin waits before it tries again.
const retryTime = 200 * time.Millisecond

// spend uses an approval that is good for one request. In repetitions, op is
// the same.
func (e *Engine) spend(ctx context.Context, owner Tag, key Key, op string) (Grant, Approval, error) {
	rec, spent, err := e.store.Spend(ctx, owner, key, op, presenceTime)
	switch {
	case err != nil:
		return Grant{}, Approval{}, storeError("spending an approval", err)
	case !spent:
		return Grant{}, e.view(rec), ErrNotApproved
	case !e.ended.end(rec.ID, op):
		e.logForgetful(ctx, rec.ID)
		return Grant{}, e.refused(rec, Spent, ""), ErrNotApproved
	}
	g, err := e.grant(ctx, rec)
	if err != nil {
		return Grant{}, e.refused(rec, Failed, ReasonUnreadable), err
	}
	e.logger.LogAttrs(ctx, slog.LevelInfo, "approval used", slog.String("approval_id", rec.ID))
	return g, Approval{}, nil
}

// logForgetful tells of a store that has forgotten how an approval ended.
func (e *Engine) logForgetful(ctx context.Context, id string) {
	e.logger.LogAttrs(ctx, slog.LevelError, "refusing an approval that has ended already: the store has lost what it was told last",
		slog.String("approval_id", id))
}

// refused is an approval that the store takes to be good, and the engine does
// not.
func (e *Engine) refused(rec Record, s State, why Reason) Approval {
	a := e.view(rec)
	a.State, a.Reason = s, why
	return a
}

// grant reads the proof that an approval was granted.
func (e *Engine) grant(ctx context.Context, rec Record) (Grant, error) {
	o, err := openOutcome(e.keys.seal, rec.Ref, rec.Outcome)
	if err != nil {
		e.logger.LogAttrs(ctx, slog.LevelError, "refusing an approval that no gateway with this secret has granted",
			slog.String("approval_id", rec.ID), slog.Any("error", err))
		return Grant{}, ErrNotApproved
	}
	if time.Since(o.goodUntil) > clockTolerance {
		e.logger.LogAttrs(ctx, slog.LevelError, "refusing an approval that was over long ago: the store has been set back, or the clocks differ by minutes",
			slog.String("approval_id", rec.ID))
		return Grant{}, ErrNotApproved
	}
	return Grant{ApprovalID: rec.ID, UUID: o.uuid, TransactionID: o.transactionID, ApprovedAt: o.approvedAt}, nil
}

// view is a record as a caller may see it.
func (e *Engine) view(rec Record) Approval {
	a := Approval{Ref: rec.Ref, State: rec.State, Reason: rec.Reason, Left: rec.Left, Interval: rec.Interval, slot: rec.Slot}
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
