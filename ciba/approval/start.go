package approval

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/caddy-stepup/stepup/ciba"
)

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
			return Approval{}, errClosing
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
	paid := false
	if restart != "" {
		// Before the ended record is replaced: it must stay if the budget says
		// no, for it is what keeps the request from starting by itself.
		if err := e.take(ctx, ref.Owner, a.IP); err != nil {
			return Approval{}, err
		}
		paid = true
	}
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
		if rec.Session != e.keys.session.tag(string(b.Session.secret[:])) {
			other.Text, other.Code = "", ""
		}
		return Approval{}, &ConflictError{other}
	case err != nil:
		return Approval{}, storeError("creating an approval", err)
	case !created || rec.State != Starting: // repeated, the call may find what was called off in between
		return e.view(rec), nil
	}
	if !paid {
		// After the record exists: of requests that come together, one draws
		// on the budget, and a person who is being asked draws no more.
		if err := e.take(ctx, ref.Owner, a.IP); err != nil {
			reason := ReasonUnasked
			if errors.As(err, new(*LimitError)) {
				reason = ReasonLimited
			}
			e.takeBack(ctx, rec, reason, restart)
			return Approval{}, err
		}
	}
	if elapsed(p.StartedAt) > startTime/3 {
		// This process has stood still, or the store has been slow: what is left
		// may be too little for the provider, and a phone would ring for nothing.
		e.takeBack(ctx, rec, ReasonUnasked, restart)
		return Approval{}, fmt.Errorf("starting an approval: %w: it took too long to answer", ErrStore)
	}
	return e.start(ctx, rec, p, hint)
}

// takeBack ends the record of a start when nobody was asked, now or as soon as
// the store lets it: nobody is to wait until it lapses. One that was a restart
// stays: it has taken the place of what kept the request from starting by itself.
func (e *Engine) takeBack(ctx context.Context, rec Record, reason Reason, restart string) {
	c := Change{Event: EventFail, Reason: reason, Op: rand.Text(), Keep: unaskedTime}
	if restart != "" {
		c.Reason, c.Keep = ReasonInterrupted, keepTime
	}
	if _, err := e.change(ctx, rec, c); err != nil && !errors.Is(err, ErrNotFound) && !isTransition(err) {
		e.work.Go(func() { _, _ = e.changeWithin(e.finish, startTime, rec, c) })
	}
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
	slot := e.keys.slotOf(b)
	rec, created, err := e.store.Create(ctx, New{
		Ref:      ref,
		Session:  e.keys.session.tag(string(b.Session.secret[:])),
		Slot:     slot,
		Plan:     sealed,
		Presence: presenceTime,
		Lasts:    startTime,
		Keep:     keepTime,
		Replace:  restart,
	})
	if err != nil && !errors.Is(err, ErrBusy) && !errors.Is(err, ErrFull) {
		// The record may be there, where only the answer is lost, or come later.
		half := Record{Ref: ref, Slot: slot}
		e.takeBack(ctx, half, ReasonUnasked, restart)
		e.work.Go(func() {
			if pause(e.run, lateTime) == nil {
				e.takeBack(e.finish, half, ReasonUnasked, restart)
			}
		})
	}
	return rec, created, err
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
	// What has not been sent when the record lapses is not to be sent: the person
	// may have asked anew.
	sending, cancel := context.WithTimeout(ctx, startTime-time.Second-elapsed(p.StartedAt))
	defer cancel()
	started, err := e.provider.Start(sending, ciba.Request{LoginHintToken: hint})
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
