package approval

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/caddy-stepup/stepup/ciba"
)

const (
	// leaseTime is how long an approval stays with an engine that has claimed
	// it and is not heard of again.
	leaseTime = 15 * time.Second

	// renewTime is how often an engine renews a lease while it works under it.
	renewTime = leaseTime / 3

	// idleTime is the longest that the poller does not look at the queue. It
	// is shorter than any interval, so that nothing another gateway schedules
	// is found late.
	idleTime = 500 * time.Millisecond

	// batchTime is the shortest pause between two looks at the queue, unless
	// there was more than could be claimed in one go: with thousands pending,
	// looking for each by itself would cost more than polling does.
	batchTime = 20 * time.Millisecond

	// claimLimit is how many approvals are claimed in one go.
	claimLimit = 256

	// slowDown is the least that slow_down adds to an interval (CIBA Core 1.0
	// §11).
	slowDown = 5 * time.Second

	// longestPause bounds what the engine itself makes of an interval.
	longestPause = time.Minute

	// longestRetry bounds Retry-After: no approval waits longer than that.
	longestRetry = time.Hour

	// strayTime is how long an engine that learns that an answer was given
	// waits for another to store it, before the answer counts as lost.
	strayTime = 10 * time.Second

	// closeTime is how long Close lets polls finish.
	closeTime = 5 * time.Second
)

// poller claims what is due and polls for it, until the engine closes.
func (e *Engine) poller() {
	var away string
	for e.run.Err() == nil {
		free := cap(e.slots) - len(e.slots)
		if free == 0 {
			select {
			case <-e.freed:
			case <-time.After(idleTime):
				// To see trouble with the store, and to take nothing: what nobody
				// has seen is not waited out.
			case <-e.run.Done():
				return
			}
			free = cap(e.slots) - len(e.slots)
		}
		asked := time.Now()
		limit := min(free, claimLimit)
		leases, next, err := e.store.Claim(e.run, limit, leaseTime)
		if limit == 0 && err == nil {
			continue // which does not say whether any could be taken
		}
		was := away
		if away = awayOf(err); away != was && e.run.Err() == nil {
			e.unrest.note()
			switch {
			case was == "":
				e.logger.LogAttrs(e.run, slog.LevelError, "claiming polls: answers wait until the approval store is back", slog.Any("error", err))
			case away == "":
				e.logger.LogAttrs(e.run, slog.LevelInfo, "approval store is back")
			}
		}
		if away == allAway {
			_ = pause(e.run, time.Second)
			continue
		}
		for _, l := range leases {
			e.slots <- struct{}{}
			e.work.Go(func() {
				e.attend(l, asked)
				<-e.slots
				wake(e.freed)
			})
		}
		if len(leases) == limit {
			continue
		}
		if next < 0 {
			next = idleTime
		}
		_ = pause(e.run, max(batchTime, min(next, idleTime)))
	}
}

// allAway is what awayOf says of a queue of which nothing can be reached.
const allAway = "all"

// awayOf names what of the queue is away, by the error of a Claim; "" is
// nothing.
func awayOf(err error) string {
	if ie := (*IncompleteError)(nil); errors.As(err, &ie) {
		return ie.Away
	}
	if err != nil {
		return allAway
	}
	return ""
}

// attend does what is due for one approval, claimed with a call that was made
// at the given time.
func (e *Engine) attend(l Lease, asked time.Time) {
	rec, err := e.store.Get(e.finish, l.Owner, l.Key)
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && (rec.ID != l.ID || !rec.State.Waiting()):
		// Gone, replaced or ended.
		if rec.ID == l.ID && rec.Reason == ReasonInterrupted {
			// By itself; nobody else can tell of it.
			e.logEnd(e.finish, rec.ID, Change{Event: EventFail, Reason: rec.Reason}, nil)
		}
		e.drop(l)
	case err != nil:
		// The record may be where the queue is not, and only that be away.
		e.giveBack(l, time.Second)
	case rec.State == Starting:
		// The gateway that started it is late with its record, or gone. Look
		// again when that is decided.
		e.giveBack(l, rec.Left)
	case rec.Present <= 0:
		// Nobody waits any more. A question that is left on a phone might be
		// answered by somebody who does not know whose it is.
		c := Change{Event: EventCancel, Reason: ReasonAbandoned, Keep: keepTime}
		if _, err := e.cancel(e.finish, rec, c); err == nil {
			e.drop(l)
		}
	default:
		if wait := e.unrest.wait(rec.Interval); wait > 0 {
			e.giveBack(l, wait)
			return
		}
		if elapsed(asked) > time.Second {
			// This process has stood still, or the store has been slow: is the
			// lease still there?
			asked = time.Now()
			if l, err = e.store.Extend(e.finish, l, leaseTime); err != nil {
				return
			}
		}
		e.unrest.polls(rec.Interval)
		e.poll(e.hold(l, asked), rec)
	}
}

// poll asks the provider once and acts on the answer.
func (e *Engine) poll(h *holding, rec Record) {
	var p plan
	if err := openJSON(e.keys.seal, rec.Ref, planField, rec.Plan, &p); err != nil {
		e.settle(h, rec, Change{Event: EventFail, Reason: ReasonUnreadable, Keep: keepTime}, err)
		return
	}
	tokens, err := e.provider.Poll(h.ctx, p.AuthReqID)
	if err == nil {
		e.verify(h, rec, p, tokens)
		return
	}
	// Counted from the answer, as the broker wants it; CIBA Core 1.0 §10.1,
	// which counts from the poll, is content with that.
	next := func(interval time.Duration) time.Duration {
		if pe := (*ciba.Error)(nil); errors.As(err, &pe) {
			interval = max(interval, min(pe.RetryAfter, longestRetry))
		}
		return interval
	}
	end := Change{Event: EventFail, Keep: keepTime}
	switch {
	case errors.Is(err, ciba.ErrPending):
		e.giveBack(h.release(), next(rec.Interval))
		return
	case errors.Is(err, ciba.ErrSlowDown):
		// Doubled, where that is more: a provider that has counted one more
		// than arrived here would stay ahead for good otherwise.
		slower := max(rec.Interval+slowDown, min(2*rec.Interval, longestPause))
		_, changeErr := e.change(e.finish, rec, Change{Event: EventSlow, Interval: slower, Keep: keepTime})
		if changeErr != nil && !isTransition(changeErr) {
			e.logger.LogAttrs(e.finish, slog.LevelWarn, "recording a longer interval", slog.String("approval_id", rec.ID), slog.Any("error", changeErr))
		}
		e.giveBack(h.release(), next(slower))
		return
	case errors.Is(err, ciba.ErrDenied):
		end.Event = EventDeny
	case errors.Is(err, ciba.ErrExpired):
		end.Event = EventExpire
	case errors.Is(err, ciba.ErrSpent):
		switch stored, err := e.stray(h.ctx, rec); {
		case err != nil:
			// Not for this engine to say any more: the lease lapses.
			h.release()
			return
		case stored:
			e.drop(h.release())
			return
		}
		end.Reason = ReasonAnswerLost
	case errors.Is(err, ciba.ErrUnknownUser):
		end.Reason = ReasonUnknownUser
	case errors.Is(err, ciba.ErrConfiguration):
		end.Reason = ReasonMisconfigured
	case errors.Is(err, ciba.ErrProvider):
		end.Reason = ReasonProvider
	case errors.Is(err, ciba.ErrToken):
		end.Reason = ReasonVerification
	default:
		// Trouble on the way. RFC 8628 §3.5 wants polls to become rarer.
		e.logger.LogAttrs(e.finish, slog.LevelWarn, "polling: trying again later", slog.String("approval_id", rec.ID), slog.Any("error", err))
		e.giveBack(h.release(), next(2*rec.Interval))
		return
	}
	e.settle(h, rec, end, err)
}

// stray waits for an answer that another engine was given and has not stored
// yet, and tells whether it has come. An error says that this engine has lost
// the lease, or is closing.
func (e *Engine) stray(ctx context.Context, rec Record) (stored bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.run, cancel)()
	for end := time.Now().Add(strayTime); time.Now().Before(end); {
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return false, err
		}
		got, err := e.store.Get(ctx, rec.Owner, rec.Key)
		if errors.Is(err, ErrNotFound) || err == nil && (got.ID != rec.ID || !got.State.Waiting()) {
			return true, nil
		}
	}
	return false, nil
}

// verify checks the tokens and records what they say. They came once and will
// not come again, so trouble with the provider's keys is waited out for as
// long as the approval lives.
func (e *Engine) verify(h *holding, rec Record, p plan, tokens ciba.Tokens) {
	deadline := time.Now().Add(rec.Left)
	var id ciba.Identity
	var err error
	for wait := time.Second; ; wait = min(2*wait, longestPause) {
		id, err = e.provider.Verify(e.finish, tokens, ciba.Expect{
			AuthReqID:     p.AuthReqID,
			StartedAt:     p.StartedAt,
			UUID:          p.UUID,
			ReferenceText: p.Text,
			Nonce:         p.Nonce,
			LoA:           p.LoA,
		})
		if !errors.Is(err, ciba.ErrUnavailable) || time.Now().Add(wait).After(deadline) {
			break
		}
		e.logger.LogAttrs(e.finish, slog.LevelWarn, "verifying an answer: trying again",
			slog.String("approval_id", rec.ID), slog.Any("error", err))
		if pause(e.finish, wait) != nil {
			break
		}
	}
	approved := Change{Event: EventApprove, Lasts: useTime, Keep: keepTime}
	if p.Remember > 0 {
		// When it is over it is forgotten, and the next request starts anew.
		approved.Lasts, approved.Keep = p.Remember, 0
	}
	if err == nil {
		approved.Outcome, err = sealOutcome(e.keys.seal, rec.Ref, outcome{
			uuid:          id.UUID,
			transactionID: id.TransactionID,
			approvedAt:    id.AuthTime,
			goodUntil:     time.Now().Add(approved.Lasts),
		})
	}
	switch {
	case errors.Is(err, ciba.ErrToken):
		e.settle(h, rec, Change{Event: EventFail, Reason: ReasonVerification, Keep: keepTime}, err)
	case err != nil:
		e.settle(h, rec, Change{Event: EventFail, Reason: ReasonAnswerLost, Keep: keepTime}, err)
	default:
		e.settle(h, rec, approved, nil)
	}
}

// settle records how an approval ended, for as long as it takes within the
// approval's life, and under the lease for so long: another engine that polled
// now would learn only that the answer was given.
func (e *Engine) settle(h *holding, rec Record, c Change, cause error) {
	_, err := e.changeWithin(e.finish, max(rec.Left, leaseTime), rec, c)
	switch {
	case err == nil:
		e.logEnd(e.finish, rec.ID, c, cause)
		if c.Event == EventDeny {
			e.leaveAlone(e.finish, rec, refusalPenalty)
		}
	case errors.Is(err, ErrNotFound), isTransition(err):
		e.logger.LogAttrs(e.finish, slog.LevelInfo, "answer came for an approval that had ended otherwise",
			slog.String("approval_id", rec.ID), slog.String("outcome", string(c.Event.To())))
	default:
		h.release()
		e.logger.LogAttrs(e.finish, slog.LevelError, "storing an answer: it is lost and the person must ask again",
			slog.String("approval_id", rec.ID), slog.String("outcome", string(c.Event.To())), slog.Any("error", err))
		return
	}
	e.drop(h.release())
}

// giveBack puts an approval back into the queue. If that fails for as long as
// the lease lasts, the lease lapses, which does the same a little later.
func (e *Engine) giveBack(l Lease, after time.Duration) {
	end := time.Now().Add(leaseTime - renewTime)
	_, err := e.store.Extend(e.finish, l, after)
	for err != nil && !errors.Is(err, ErrLeaseLost) && time.Now().Before(end) && pause(e.finish, 500*time.Millisecond) == nil {
		_, err = e.store.Extend(e.finish, l, after)
	}
	if err != nil && !errors.Is(err, ErrLeaseLost) {
		e.logger.LogAttrs(e.finish, slog.LevelWarn, "scheduling the next poll: it comes when the lease has lapsed",
			slog.String("approval_id", l.ID), slog.Any("error", err))
	}
}

// drop takes an approval out of the queue. If that fails, whoever claims it
// next finds that it has ended, and drops it.
func (e *Engine) drop(l Lease) {
	if err := e.store.Drop(e.finish, l); err != nil {
		e.logger.LogAttrs(e.finish, slog.LevelDebug, "taking an approval out of the queue", slog.String("approval_id", l.ID), slog.Any("error", err))
	}
}

// holding renews a lease while work under it is under way.
type holding struct {
	engine *Engine

	// ctx ends a little before the lease would lapse: what is not done by then
	// must not overlap with what the next holder does.
	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex
	lease    Lease
	renew    *time.Timer
	end      *time.Timer
	released bool
}

// hold starts renewing a lease that was asked for at the given time.
func (e *Engine) hold(l Lease, asked time.Time) *holding {
	h := &holding{engine: e, lease: l}
	h.ctx, h.cancel = context.WithCancel(e.finish)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.end = time.AfterFunc(leaseTime-time.Second-time.Since(asked), h.cancel)
	h.renew = time.AfterFunc(renewTime, h.renewal)
	return h
}

// renewal prolongs the lease, if it is still this engine's.
func (h *holding) renewal() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return
	}
	asked := time.Now()
	l, err := h.engine.store.Extend(h.engine.finish, h.lease, leaseTime)
	switch {
	case err == nil:
		h.lease = l
		h.end.Reset(leaseTime - time.Second - time.Since(asked))
	case errors.Is(err, ErrLeaseLost):
		h.cancel()
		return
	}
	h.renew.Reset(renewTime)
}

// release ends the renewals, once, and returns the lease as it is now.
func (h *holding) release() Lease {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.released = true
	h.renew.Stop()
	h.end.Stop()
	h.cancel()
	return h.lease
}
