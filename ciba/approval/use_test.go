package approval_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// approved is a one-time approval that its person has given.
func approved(t *testing.T, w *world, e *approval.Engine) approval.Binding {
	t.Helper()
	b := binding(e)
	a := begin(t, e, b)
	w.approve()
	wait(t, e, a, approval.Approved)
	return b
}

func TestUseWithin_getsWhatItSpentWhenOnlyTheAnswerWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := approved(t, w, e)
		w.store.lose("Spend", 3)
		if _, _, err := e.UseWithin(t.Context(), b, 15*time.Second); err != nil {
			t.Errorf("the request that has spent the approval is refused: %v", err)
		}
		if _, _, err := e.UseWithin(t.Context(), b, 15*time.Second); !errors.Is(err, approval.ErrNotApproved) {
			t.Errorf("another request: %v, want it refused", err)
		}
	})
}

func TestUseWithin_givesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := approved(t, w, e)
		w.store.fail("Spend", 1000)
		for _, within := range []time.Duration{0, 15 * time.Second} {
			asked := time.Now()
			if _, _, err := e.UseWithin(t.Context(), b, within); !errors.Is(err, approval.ErrStore) {
				t.Errorf("within %v: %v, want trouble with the store", within, err)
			}
			if took := time.Since(asked); took > within || took < within-time.Second {
				t.Errorf("gave up after %v, want %v", took, within)
			}
		}
		gone, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		asked := time.Now()
		if _, _, err := e.UseWithin(gone, b, time.Minute); err == nil || time.Since(asked) > time.Second {
			t.Errorf("the client has gone: %v after %v", err, time.Since(asked))
		}
		w.store.heal()
		if _, _, err := e.Use(t.Context(), b); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestUseWithin_waitsAlsoForWhatIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b, _ := remembered(t, w, w.engine())
		other := w.engine() // which has not read it yet
		w.store.fail("Touch", 3)
		if _, _, err := other.UseWithin(t.Context(), b, 15*time.Second); err != nil {
			t.Errorf("refused although the store was back within the time: %v", err)
		}
	})
}

func TestUseWithin_endsWhenDismissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := approved(t, w, e)
		w.store.fail("Spend", 1000)
		time.AfterFunc(time.Second, e.Dismiss)
		asked := time.Now()
		if _, _, err := e.UseWithin(t.Context(), b, 15*time.Second); !errors.Is(err, approval.ErrStore) || time.Since(asked) > time.Second {
			t.Errorf("%v after %v, want trouble after 1s", err, time.Since(asked))
		}
	})
}
