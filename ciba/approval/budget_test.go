package approval_test

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

func TestBudget_holdsForAPersonOverGatewaysAndSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		limit := func(c *approval.Config) { c.UserRate = approval.Rate{Burst: 3, Per: time.Minute} }
		engines := []*approval.Engine{w.engine(limit), w.engine(limit)}
		start := func(i int) error {
			e := engines[i%2]
			b := binding(e)
			b.User = fmt.Sprint("spelling ", i)
			b.Policy = fmt.Sprint("policy ", i)
			_, err := e.Begin(t.Context(), b, "", ask)
			return err
		}
		for i := range 3 {
			if err := start(i); err != nil {
				t.Fatal(err)
			}
		}
		limited := (*approval.LimitError)(nil)
		if err := start(3); !errors.As(err, &limited) || limited.Wait != time.Minute {
			t.Fatalf("the fourth: %v, want a LimitError of a minute", err)
		}
		if w.pushes() != 3 {
			t.Errorf("%d pushes, want 3", w.pushes())
		}
		time.Sleep(time.Minute)
		if err := start(4); err != nil {
			t.Errorf("after the wait: %v", err)
		}
	})
}

func TestBudget_ofAnAddressCountsAnIPv6Network(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine(func(c *approval.Config) { c.AddressRate = approval.Rate{Burst: 2, Per: time.Hour} })
		n := 0
		start := func(ip string) error {
			n++
			b := binding(e)
			b.UUID = fmt.Sprintf("8a9856e0-f12d-4217-b320-%012d", n)
			_, err := e.Begin(t.Context(), b, "", func() (approval.Ask, error) {
				a, err := ask()
				a.IP = netip.MustParseAddr(ip)
				return a, err
			})
			return err
		}
		for _, c := range []struct {
			ip   string
			pass bool
		}{
			{"2001:db8:1:2::1", true},
			{"2001:db8:1:2:ffff::7", true},
			{"2001:db8:1:2:3::9", false},
			{"2001:db8:1:3::1", true},
			{"192.0.2.1", true},
			{"::ffff:192.0.2.1", true},
			{"192.0.2.1", false},
			{"192.0.2.2", true},
		} {
			err := start(c.ip)
			if limited := (*approval.LimitError)(nil); c.pass && err != nil || !c.pass && !errors.As(err, &limited) {
				t.Errorf("%s: %v, want to pass: %t", c.ip, err, c.pass)
			}
		}
	})
}

// Identical requests are one act of will, and draw once.
func TestBudget_isDrawnOnceByIdenticalRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		limit := func(c *approval.Config) { c.UserRate = approval.Rate{Burst: 1, Per: time.Hour} }
		engines := []*approval.Engine{w.engine(limit), w.engine(limit)}
		b := binding(engines[0])
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				if a, err := engines[i%2].Begin(t.Context(), b, "", ask); err != nil || !a.State.Waiting() {
					t.Errorf("%s, %v", a.State, err)
				}
			})
		}
		all.Wait()
	})
}

// A person who said no is left alone, longer each time, on every policy.
func TestRefusal_isFollowedByAPauseThatGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		restart := ""
		for i, pause := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute, 15 * time.Minute} {
			a, err := e.Begin(t.Context(), b, restart, ask)
			if err != nil {
				t.Fatal(i, err)
			}
			if err := w.broker.Deny(w.requestID()); err != nil {
				t.Fatal(err)
			}
			a = wait(t, e, a, approval.Denied)
			synctest.Wait()
			limited := (*approval.LimitError)(nil)
			if _, err := e.Begin(t.Context(), b, a.ID, ask); !errors.As(err, &limited) || limited.Wait != pause {
				t.Errorf("restart after refusal %d: %v, want a wait of %s", i+1, err, pause)
			}
			other := b
			other.Policy = "another"
			if _, err := e.Begin(t.Context(), other, "", ask); !errors.As(err, &limited) {
				t.Errorf("another policy after refusal %d: %v", i+1, err)
			}
			// What was refused is still refused: no reload starts it again.
			if again, err := e.Begin(t.Context(), b, "", ask); err != nil || again.ID != a.ID {
				t.Errorf("reload after refusal %d: %v", i+1, err)
			}
			time.Sleep(pause)
			restart = a.ID
			if pause > 10*time.Minute {
				restart = "" // forgotten by now
			}
		}
		time.Sleep(time.Hour)
		a := begin(t, e, b)
		if err := w.broker.Deny(w.requestID()); err != nil {
			t.Fatal(err)
		}
		a = wait(t, e, a, approval.Denied)
		synctest.Wait()
		limited := (*approval.LimitError)(nil)
		if _, err := e.Begin(t.Context(), b, a.ID, ask); !errors.As(err, &limited) || limited.Wait != 30*time.Second {
			t.Errorf("an hour later: %v, want a wait of 30s", err)
		}
	})
}

// Whoever calls every question off before its refusal is collected gets no
// further than whoever lets it be refused.
func TestRefusal_isNotHiddenByCancelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine()
		b := binding(e)
		restart := ""
		for n := 1; ; n++ {
			a, err := e.Begin(t.Context(), b, restart, ask)
			if limited := (*approval.LimitError)(nil); errors.As(err, &limited) {
				if n != 4 || limited.Wait != 30*time.Second {
					t.Errorf("start %d: %v, want the fourth to wait 30s", n, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := w.broker.Deny(w.requestID()); err != nil {
				t.Fatal(err)
			}
			if a, err = e.Cancel(t.Context(), a); err != nil || a.State != approval.Cancelled {
				t.Fatalf("%s, %v", a.State, err)
			}
			restart = a.ID
		}
	})
}

// Whoever has joined a start that the budget refused is told that.
func TestBudget_isTheReasonOfAStartThatItRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.engine(func(c *approval.Config) { c.UserRate = approval.Rate{Burst: 1, Per: time.Minute} })
		b := binding(e)
		begin(t, e, b)
		b.Policy = "another policy"
		if _, err := e.Begin(t.Context(), b, "", ask); !errors.As(err, new(*approval.LimitError)) {
			t.Errorf("error is %v, want a LimitError", err)
		}
		if a, err := e.Find(t.Context(), b); err != nil || a.Reason != approval.ReasonLimited {
			t.Errorf("%s (%s), %v; want failed (limited)", a.State, a.Reason, err)
		}
	})
}
