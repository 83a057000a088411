package main

import (
	"net/http"
	"testing"
	"time"
)

// Gateways know remembered approvals by heart. One that is called off must be
// forgotten by all of them at once.
func TestRevocation_takesEffectOnEveryGatewayWithinASecond(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteConfig{Gateways: 3})
	const times = 10
	var slowest time.Duration
	for range times {
		p := s.person(t)
		a := p.accounts()
		found := pageHandle.FindStringSubmatch(a.ask(s.gateways[0], browser...).body)
		if found == nil {
			t.Fatal("no waiting page")
		}
		a.approve()
		a.awaitApproved(s.gateways[0])
		for _, g := range s.gateways {
			for range 3 { // the first is read from the store
				a.mustPass(a.ask(g))
			}
		}

		asked := time.Now()
		if got := a.do(t.Context(), s.gateways[0], http.MethodPost, "step_up=cancel&step_up_approval="+found[1]); got.state != "cancelled" {
			t.Fatalf("calling off: answer is %v %s", got, got.body)
		}
		refused := make(chan time.Duration)
		for _, g := range s.gateways {
			go func() {
				defer func() { refused <- time.Since(asked) }()
				eventually(t, "a gateway to refuse", func() bool { return !a.ask(g).passed() })
			}()
		}
		for range s.gateways {
			slowest = max(slowest, <-refused)
		}
		for _, g := range s.gateways {
			if got := a.ask(g); got.status != http.StatusForbidden || got.state != "cancelled" {
				t.Errorf("answer is %v, want 403 cancelled", got)
			}
		}
	}
	if slowest > time.Second {
		t.Errorf("an approval was good for %v after it was called off, want a second at most", slowest)
	}
	t.Logf("of %d approvals, the last gateway refused %v after the first was told", times, slowest)
	s.check(t, 0)
}
