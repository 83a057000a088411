package approval_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// Whoever writes into the store can take approvals away, but not make one.
func TestEngine_refusesWhatAWriterOfTheStoreForges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		good := begin(t, e, b)
		w.approve()
		good = wait(t, e, good, approval.Approved)
		stolen, err := w.store.Get(t.Context(), good.Owner, good.Key)
		if err != nil {
			t.Fatal(err)
		}

		for name, proof := range map[string][]byte{
			"no proof":                     nil,
			"made-up proof":                []byte("approved"),
			"the proof of another request": stolen.Outcome,
			"a plan for a proof":           stolen.Plan,
		} {
			other := b
			other.Policy = "another policy for " + name
			victim := begin(t, e, other)
			_, err := w.store.Store.Change(t.Context(), approval.Change{
				Ref: victim.Ref, Event: approval.EventApprove, Outcome: proof, Lasts: time.Minute, Keep: time.Minute,
			})
			if err != nil {
				t.Fatal(err)
			}
			a, err := e.Find(t.Context(), other)
			if err != nil || a.State != approval.Approved {
				t.Fatalf("the store says %s, %v", a.State, err)
			}
			_, a, err = e.Use(t.Context(), other)
			if !errors.Is(err, approval.ErrNotApproved) || a.State != approval.Failed || a.Reason != approval.ReasonUnreadable {
				t.Errorf("%s: %v, %s %s; want it failed as unreadable", name, err, a.State, a.Reason)
			}
		}
	})
}

// Law 3: what lies in the store tells nothing.
func TestEngine_storesNothingThatAReaderCouldUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		a := begin(t, e, b)
		body := []byte("amount=100&to=Bob")
		if err := e.Park(t.Context(), b.Session, a, approval.Parked{Body: body}); err != nil {
			t.Fatal(err)
		}
		w.approve()
		a = wait(t, e, a, approval.Approved)
		rec, err := w.store.Get(t.Context(), a.Owner, a.Key)
		if err != nil {
			t.Fatal(err)
		}
		parked, err := w.store.Parked(t.Context(), a.Ref)
		if err != nil {
			t.Fatal(err)
		}
		dump := fmt.Sprintf("%q %q %q %s %s %s", rec.Plan, rec.Outcome, parked, rec.Owner, rec.Key, rec.Session)
		for _, secret := range []string{b.User, testUUID, "Betal", "K7PX", string(body), w.requestID(), e.SessionToken(b.Session), "transfers"} {
			if strings.Contains(dump, secret) {
				t.Errorf("the store holds %q", secret)
			}
		}
		got, err := e.Parked(t.Context(), b.Session, a)
		if err != nil || !bytes.Equal(got.Body, body) {
			t.Errorf("unparking: %q, %v", got.Body, err)
		}
		if _, err := e.Parked(t.Context(), e.NewSession(), a); err == nil {
			t.Error("another session read what was parked")
		}
		if _, _, err := e.Use(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if _, err := w.store.Parked(t.Context(), a.Ref); !errors.Is(err, approval.ErrNotFound) {
			t.Errorf("after its use, the parked body is still there: %v", err)
		}
	})
}

func TestEngine_logsNoPersonalData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		a := begin(t, e, b)
		w.broker.Inject(cibatest.Fault{Endpoint: cibatest.EndpointToken, Token: cibatest.TokenWrongUUID})
		w.approve()
		wait(t, e, a, approval.Failed)
		if a, err := e.Begin(t.Context(), b, a.ID, ask); err != nil {
			t.Fatal(err)
		} else if _, err := e.Cancel(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		logged := w.log.String()
		if !strings.Contains(logged, a.ID) || !strings.Contains(logged, "mitid.uuid") {
			t.Errorf("the log does not help: %s", logged)
		}
		for _, secret := range []string{b.User, testUUID, "Betal", "K7PX", w.requestID(), e.SessionToken(b.Session), "192.0.2.7", "Jensen"} {
			if strings.Contains(logged, secret) {
				t.Errorf("the log holds %q", secret)
			}
		}
	})
}
