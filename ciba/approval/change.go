package approval

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Cancel calls an approval off, here and, in the background, at the provider.
// It returns the approval as it is then: one that has ended stays as it ended.
func (e *Engine) Cancel(ctx context.Context, a Approval) (Approval, error) {
	if !e.enter() {
		return Approval{}, errClosing
	}
	defer e.work.Done()
	was := Record{Ref: a.Ref, State: a.State, Slot: a.slot}
	cancelled, err := e.cancel(ctx, was, Change{Event: EventCancel, Keep: keepTime})
	if err == nil && was.State == Pending && cancelled.State == Cancelled {
		e.leaveAlone(ctx, was, cancelPenalty)
	}
	return cancelled, err
}

func (e *Engine) cancel(ctx context.Context, was Record, c Change) (Approval, error) {
	rec, err := e.change(ctx, was, c)
	switch {
	case isTransition(err):
		return e.view(rec), nil
	case err != nil:
		return Approval{}, storeError("cancelling an approval", err)
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

// change makes a change to a record and tells the waiters here; the store tells
// the other gateways.
func (e *Engine) change(ctx context.Context, rec Record, c Change) (Record, error) {
	c.Ref, c.Slot = rec.Ref, rec.Slot
	wasGood := rec.State == Approved
	if c.Op == "" {
		c.Op = rand.Text()
	}
	rec, err := e.store.Change(ctx, c)
	if err == nil {
		if wasGood && !c.Event.To().Live() {
			e.ended.end(c.ID, c.Op)
		}
		e.tell(c.ID)
	}
	return rec, err
}

// changeWithin is change, again and again until the store answers or the time
// is over.
func (e *Engine) changeWithin(ctx context.Context, within time.Duration, was Record, c Change) (Record, error) {
	if c.Op == "" {
		c.Op = rand.Text()
	}
	end := time.NewTimer(within)
	defer end.Stop()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
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
