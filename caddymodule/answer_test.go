package caddymodule

import (
	"net/http"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// A start that came to nothing for want of something is no word of the person's,
// and may be tried again; what it was is not shown.
func TestProblemOf_tellsWhyAStartCameToNothing(t *testing.T) {
	for reason, want := range map[approval.Reason]struct {
		status int
		state  string
		retry  time.Duration
		own    bool
	}{
		approval.ReasonUnavailable:   {http.StatusServiceUnavailable, "unavailable", 30 * time.Second, false},
		approval.ReasonMisconfigured: {http.StatusServiceUnavailable, "unavailable", 30 * time.Second, false},
		approval.ReasonUnasked:       {http.StatusServiceUnavailable, "unavailable", 5 * time.Second, false},
		approval.ReasonLimited:       {http.StatusTooManyRequests, "limited", 5 * time.Second, false},
		approval.ReasonUnknownUser:   {http.StatusForbidden, "forbidden", 0, false},
		approval.ReasonProvider:      {http.StatusForbidden, "failed", 0, true},
		approval.ReasonInterrupted:   {http.StatusForbidden, "failed", 0, true},
	} {
		p, own := problemOf(approval.Approval{State: approval.Failed, Reason: reason})
		if p.status != want.status || p.state != want.state || own != want.own {
			t.Errorf("%s: %d %s, shown: %t; want %d %s, %t", reason, p.status, p.state, own, want.status, want.state, want.own)
		}
		if p.retryAfter != want.retry {
			t.Errorf("%s: Retry-After is %v, want %v", reason, p.retryAfter, want.retry)
		}
	}
}
