package approval_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// remembered is an approval for twenty minutes that was granted.
func remembered(t *testing.T, w *world, e *approval.Engine) (approval.Binding, approval.Approval) {
	t.Helper()
	b := binding(e)
	b.Request = nil
	a, err := e.Begin(t.Context(), b, "", func() (approval.Ask, error) {
		a, err := ask()
		a.Remember = 20 * time.Minute
		return a, err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.approve()
	return b, wait(t, e, a, approval.Approved)
}

// mustUse uses an approval that must be good.
func mustUse(t *testing.T, e *approval.Engine, b approval.Binding) {
	t.Helper()
	if g, _, err := e.Use(t.Context(), b); err != nil || g.UUID != testUUID || g.ApprovalID == "" {
		t.Errorf("using it: %+v, %v", g, err)
	}
}

func TestMemory_sparesTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b, _ := remembered(t, w, e)
		synctest.Wait()
		mustUse(t, e, b)
		before := w.store.count("Touch")
		for range 100 {
			mustUse(t, e, b)
		}
		if asked := w.store.count("Touch") - before; asked != 0 {
			t.Errorf("the store was asked %d times", asked)
		}
		// Nothing else is found by it.
		other := b
		other.User = "bob"
		if _, _, err := e.Use(t.Context(), other); !errors.Is(err, approval.ErrNotFound) {
			t.Errorf("another user: %v, want ErrNotFound", err)
		}
	})
}

// Revocation takes effect at once, also at a gateway that knows the approval.
func TestMemory_forgetsWhatIsRevokedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e, elsewhere := w.engine(), w.engine()
		b, a := remembered(t, w, e)
		mustUse(t, e, b)
		mustUse(t, elsewhere, b)
		if _, err := elsewhere.Cancel(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i, e := range []*approval.Engine{e, elsewhere} {
			if _, a, err := e.Use(t.Context(), b); !errors.Is(err, approval.ErrNotApproved) || a.State != approval.Cancelled {
				t.Errorf("gateway %d: %s, %v; want cancelled", i, a.State, err)
			}
		}
	})
}

// An approval that is known is over when its time is over.
func TestMemory_endsWithTheApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b, _ := remembered(t, w, e)
		mustUse(t, e, b)
		time.Sleep(20 * time.Minute)
		if _, _, err := e.Use(t.Context(), b); !errors.Is(err, approval.ErrNotFound) {
			t.Errorf("after 20 minutes: %v, want ErrNotFound", err)
		}
	})
}

// Without news nothing is known: whoever does not hear of a revocation must
// ask.
func TestMemory_reliesOnNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b, a := remembered(t, w, e)
		mustUse(t, e, b)
		w.store.news(approval.News{Lost: true})
		// A change that this gateway does not hear of.
		_, err := w.store.Store.Change(t.Context(), approval.Change{Ref: a.Ref, Event: approval.EventCancel, Keep: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := e.Use(t.Context(), b); !errors.Is(err, approval.ErrNotApproved) {
			t.Errorf("while news are lost: %v, want ErrNotApproved", err)
		}
	})
}

// A record that was read before the news of its change is not kept after it.
func TestMemory_doesNotLearnWhatNewsHaveOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b, a := remembered(t, w, e)
		w.store.news(approval.News{Gap: true}) // forget
		w.store.afterTouch = func() {
			w.store.afterTouch = nil
			if _, err := e.Cancel(t.Context(), a); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		// This one was read while the approval was good.
		if _, _, err := e.Use(t.Context(), b); !errors.Is(err, approval.ErrNotApproved) {
			t.Errorf("at the change: %v, want ErrNotApproved", err)
		}
		if _, _, err := e.Use(t.Context(), b); !errors.Is(err, approval.ErrNotApproved) {
			t.Errorf("after the change: %v, want ErrNotApproved", err)
		}
	})
}
