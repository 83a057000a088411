package caddymodule

import (
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// The headers for the upstream, with the option headers; besides, the approval's
// id under headerApproval, which from a client names an approval by its handle.
const (
	headerUser   = "Step-Up-User"
	headerUUID   = "Step-Up-Uuid"
	headerMoment = "Step-Up-Time"
)

// passage lets a request through: with the grant that it used, or without one
// when it is a CORS preflight, which does nothing.
type passage struct {
	approval.Grant
	user   string
	person string // who is charged for the body that goes on
	taken  int64
}

// end gives back the room that the body took.
func (p *passage) end() { inUse.bodies.give(p.person, p.taken) }

// announce tells the handlers behind what was approved.
func (p *passage) announce(h *Handler, r *http.Request) {
	if p.ApprovalID == "" {
		return
	}
	approvedAt := p.ApprovedAt.UTC().Format(time.RFC3339)
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl.Set("http.step_up.approval_id", p.ApprovalID)
	repl.Set("http.step_up.user", p.user)
	repl.Set("http.step_up.uuid", p.UUID)
	repl.Set("http.step_up.approved_at", approvedAt)
	repl.Set("http.step_up.transaction_id", p.TransactionID)
	if h.Headers {
		r.Header.Set(headerUser, headerValue(p.user))
		r.Header.Set(headerUUID, headerValue(p.UUID))
		r.Header.Set(headerApproval, p.ApprovalID)
		r.Header.Set(headerMoment, approvedAt)
	}
}

// headerValue makes any string a header value that reads in one way: what is
// not printable ASCII, and the percent sign, are percent-encoded.
func headerValue(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c > ' ' && c <= '~' && c != '%' {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}
