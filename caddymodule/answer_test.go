package caddymodule

import (
	"net/http"
	"testing"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// A start that came to nothing for want of something is no word of the person's,
// and may be tried again; what it was is not shown.
func TestProblemOf_tellsWhyAStartCameToNothing(t *testing.T) {
	for reason, want := range map[approval.Reason]struct {
		status int
		state  string
		own    bool
	}{
		approval.ReasonUnavailable:   {http.StatusServiceUnavailable, "unavailable", false},
		approval.ReasonMisconfigured: {http.StatusServiceUnavailable, "unavailable", false},
		approval.ReasonUnasked:       {http.StatusServiceUnavailable, "unavailable", false},
		approval.ReasonLimited:       {http.StatusTooManyRequests, "limited", false},
		approval.ReasonUnknownUser:   {http.StatusForbidden, "forbidden", false},
		approval.ReasonProvider:      {http.StatusForbidden, "failed", true},
		approval.ReasonInterrupted:   {http.StatusForbidden, "failed", true},
	} {
		p, own := problemOf(approval.Approval{State: approval.Failed, Reason: reason})
		if p.status != want.status || p.state != want.state || own != want.own {
			t.Errorf("%s: %d %s, shown: %t; want %d %s, %t", reason, p.status, p.state, own, want.status, want.state, want.own)
		}
		if retry := p.retryAfter > 0; retry != (want.status == http.StatusServiceUnavailable || want.status == http.StatusTooManyRequests) {
			t.Errorf("%s: Retry-After is %v", reason, p.retryAfter)
		}
	}
}
