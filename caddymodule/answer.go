package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-stepup/stepup/caddymodule/page"
	"github.com/caddy-stepup/stepup/caddymodule/text"
	"github.com/caddy-stepup/stepup/ciba/approval"
)

// headerState is in every answer of the gate itself, so that it can be told
// from the application's.
const headerState = "Step-Up-State"

// problemBase is where the problem types are documented (RFC 9457 §3.1.1).
const problemBase = "https://github.com/caddy-stepup/stepup/blob/main/docs/answers.md#"

// troubleRetry is the pause that is asked for when the store or the gateway is
// in trouble.
const troubleRetry = 5 * time.Second

// problem is an answer that lets nothing pass.
type problem struct {
	status     int
	state      string // in Step-Up-State, and the problem's type
	title      string
	detail     string
	page       page.State
	retryAfter time.Duration
	field      string // what cannot be shown on the phone
}

// The answers to requests that no approval is the matter with.
var (
	problemForbidden = problem{
		status: http.StatusForbidden, state: "forbidden", page: page.Forbidden,
		title:  "Not allowed to ask for approval",
		detail: "Nobody is signed in, or the user cannot approve with MitID here.",
	}
	problemCrossSite = problem{
		status: http.StatusForbidden, state: "cross_site", page: page.CrossSite,
		title:  "Request came from another site",
		detail: "An approval is only started, continued or cancelled from the site itself.",
	}
	problemGone = problem{
		status: http.StatusForbidden, state: "none", page: page.Expired,
		title:  "No such approval",
		detail: "There is no approval for this request, session and user, or it is forgotten already.",
	}
	problemEarly = problem{
		status: http.StatusTooEarly, state: "too_early", page: page.Unavailable,
		title:  "Too early",
		detail: "The request came before the TLS handshake was complete. Send it again.",
	}
	problemPrefetch = problem{
		status: http.StatusForbidden, state: "prefetch", page: page.Unavailable,
		title:  "Not fetched in advance",
		detail: "The browser asked before its user did. An approval is only started when the user asks.",
	}
	problemMethod = problem{
		status: http.StatusMethodNotAllowed, state: "forbidden", page: page.Forbidden,
		title:  "Method not allowed",
		detail: "CONNECT cannot be approved.",
	}
	problemTarget = problem{
		status: http.StatusBadRequest, state: "invalid", page: page.Invalid,
		title:  "Request target is not a path",
		detail: "Only requests for a path can be approved.",
	}
	problemBody = problem{
		status: http.StatusBadRequest, state: "invalid", page: page.Invalid,
		title:  "Body cannot be read",
		detail: "The request's body did not arrive whole.",
	}
	problemTooLarge = problem{
		status: http.StatusRequestEntityTooLarge, state: "invalid", page: page.Invalid,
		title:  "Body is too large",
		detail: "The request's body is larger than this route accepts.",
	}
	problemInvalid = problem{
		status: http.StatusUnprocessableEntity, state: "invalid", page: page.Invalid,
		title: "Request cannot be shown for approval",
	}
	problemConflict = problem{
		status: http.StatusConflict, state: "conflict", page: page.Conflict,
		title:      "Another approval is pending",
		detail:     "The user is being asked to approve another request on this route. One is asked for at a time.",
		retryAfter: troubleRetry,
	}
	problemLimited = problem{
		status: http.StatusTooManyRequests, state: "limited", page: page.Limited,
		title:      "Too many approvals were asked for",
		detail:     "The user or the address has asked for too many approvals, or the user has just refused one.",
		retryAfter: troubleRetry,
	}
	problemBusy = problem{
		status: http.StatusServiceUnavailable, state: "busy", page: page.Unavailable,
		title:      "Too many requests wait for approval here",
		detail:     "This gateway holds as many requests or bodies as it may. Nothing was sent on.",
		retryAfter: troubleRetry,
	}
	problemUnavailable = problem{
		status: http.StatusServiceUnavailable, state: "unavailable", page: page.Unavailable,
		title:      "Approval is not possible at the moment",
		detail:     "The store of approvals or the MitID broker cannot be reached. Nothing was sent on.",
		retryAfter: troubleRetry,
	}
)

// ended says what an approval's state means for its request.
var ended = map[approval.State]problem{
	approval.Denied: {
		status: http.StatusForbidden, state: "denied", page: page.Denied,
		title:  "Approval was refused",
		detail: "The person said no in the MitID app.",
	},
	approval.Expired: {
		status: http.StatusForbidden, state: "expired", page: page.Expired,
		title:  "Approval has expired",
		detail: "Nobody answered in time, or the approval was not used in time.",
	},
	approval.Cancelled: {
		status: http.StatusForbidden, state: "cancelled", page: page.Cancelled,
		title:  "Approval was cancelled",
		detail: "The approval was called off.",
	},
	approval.Spent: {
		status: http.StatusForbidden, state: "spent", page: page.Spent,
		title:  "Approval has been used",
		detail: "The approval was good for one request, and that has been sent on already.",
	},
	approval.Failed: {
		status: http.StatusForbidden, state: "failed", page: page.Failed,
		title:  "Approval has failed",
		detail: "The approval ended without an answer that can be trusted.",
	},
}

// problemOf is the answer for an approval that lets nothing pass, and whether
// the approval is shown in it. Where nobody could be asked, it is not: one whom
// the provider does not know gets the same answer as one whom the gate does not.
func problemOf(a approval.Approval) (p problem, own bool) {
	switch {
	case a.State.Waiting():
		return problem{
			status: http.StatusUnauthorized, state: "pending", page: page.Pending,
			title:      "Approval with MitID needed",
			detail:     "Open the MitID app, compare the text, and approve there. Then send the same request again.",
			retryAfter: max(a.Interval, time.Second),
		}, true
	case a.State != approval.Failed:
	case a.Reason == approval.ReasonUnknownUser:
		return problemForbidden, false
	case a.Reason == approval.ReasonLimited:
		return problemLimited, false
	case a.Reason == approval.ReasonUnasked:
		return problemUnavailable, false
	case a.Reason == approval.ReasonUnavailable || a.Reason == approval.ReasonMisconfigured:
		p = problemUnavailable
		p.retryAfter = approval.RetryTime
		return p, false
	}
	if p, ok := ended[a.State]; ok {
		return p, true
	}
	return ended[approval.Failed], true
}

// approvalJSON is an approval as clients see it.
type approvalJSON struct {
	ID        string     `json:"id"`
	State     string     `json:"state"`
	Text      string     `json:"text,omitempty"`
	Code      string     `json:"code,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// problemJSON is a problem document (RFC 9457 §3).
type problemJSON struct {
	Type     string        `json:"type"`
	Title    string        `json:"title"`
	Status   int           `json:"status"`
	Detail   string        `json:"detail,omitempty"`
	Field    string        `json:"field,omitempty"`
	Approval *approvalJSON `json:"approval,omitempty"`
}

func asJSON(a approval.Approval) *approvalJSON {
	out := &approvalJSON{ID: a.ID, State: publicState(a.State), Text: a.Text, Code: a.Code}
	if !a.ExpiresAt.IsZero() {
		expires := a.ExpiresAt.UTC().Truncate(time.Second)
		out.ExpiresAt = &expires
	}
	return out
}

// publicState is a state as clients see it: whether the provider has answered
// the start yet is not their concern.
func publicState(s approval.State) string {
	if s == approval.Starting {
		s = approval.Pending
	}
	return string(s)
}

// ours marks an answer as the gate's own, of a state. It is for this request
// alone, and must not be cached.
func (v *visit) ours(state string) {
	h := v.w.Header()
	h.Set(headerState, state)
	h.Set("Cache-Control", "no-store")
}

func retryAfter(h http.Header, d time.Duration) {
	if d > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(d.Seconds()))))
	}
}

// show answers a request with the state of its approval: 401 while it is
// pending, and why not after it has ended. It always returns nil, for no
// passage.
func (v *visit) show(a approval.Approval) *passage {
	p, own := problemOf(a)
	if v.newSession && p.state != problemForbidden.state {
		// Only now, when there is something to come back to: an answer to a
		// request of another site must not replace the session that its user
		// has, and that the browser did not send. A start that may or may not
		// have rung a phone is something to come back to as well: the same
		// request must not start another.
		giveSession(v.engine, v.w, v.r, v.session)
	}
	if !own {
		return v.refuse(p)
	}
	if a.State.Waiting() && v.forgetsSignIn() {
		p.status = http.StatusForbidden
	} else if a.State.Waiting() {
		v.w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_user_authentication", error_description="approval with MitID needed"`)
	}
	return v.answer(p, &a)
}

// forgetsSignIn tells whether 401 would sign the user out: a browser that has
// sent credentials of HTTP authentication takes it to mean that they are wrong,
// and forgets them.
func (v *visit) forgetsSignIn() bool {
	return v.r.Header.Get("Authorization") != "" && (v.r.Header.Get("Sec-Fetch-Mode") != "" || v.wantsPage())
}

// trouble answers what has nothing to do with the person's answer.
func (v *visit) trouble(err error) *passage {
	fieldError := (*text.FieldError)(nil)
	conflict := (*approval.ConflictError)(nil)
	limited := (*approval.LimitError)(nil)
	switch {
	case errors.As(err, &conflict):
		v.logger.Info("refusing a request while its user is asked for another", zap.String("approval_id", conflict.Other.ID))
		return v.answer(problemConflict, &conflict.Other)
	case errors.As(err, &limited):
		v.logger.Info("refusing a request of a user or address that has asked too often", zap.Duration("wait", limited.Wait))
		p := problemLimited
		p.retryAfter = limited.Wait
		return v.refuse(p)
	case errors.As(err, &fieldError):
		v.logger.Info("refusing a request that cannot be shown on the phone", zap.Error(err))
		p := problemInvalid
		p.field = fieldError.Error()
		return v.refuse(p)
	case errors.Is(err, context.Canceled):
		// The client has gone. What is pending goes on without it.
		return v.refuse(problemUnavailable)
	case errors.Is(err, errNoAddress):
		v.logger.Error("refusing a request: the client has no IP address, which MitID needs; configure trusted_proxies if a proxy is in front")
	case errors.Is(err, approval.ErrNotFound):
		return v.refuse(problemGone)
	case errors.Is(err, errNoSeat), errors.Is(err, errNoRoom):
		v.logger.Error("refusing a request: raise the limit if there is memory, or let routes answer with respond challenge", zap.Error(err))
		return v.refuse(problemBusy)
	case errors.Is(err, approval.ErrFull):
		v.logger.Error("refusing a request: the approval store is full")
	default:
		v.logger.Error("refusing a request: nothing can be approved at the moment", zap.Error(err))
	}
	return v.refuse(problemUnavailable)
}

// refuse answers a request that has no approval. It always returns nil.
func (v *visit) refuse(p problem) *passage {
	if p.status == http.StatusMethodNotAllowed {
		v.w.Header().Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	}
	return v.answer(p, nil)
}

// answer writes a problem as a page for people and as JSON for programs.
func (v *visit) answer(p problem, a *approval.Approval) *passage {
	v.ours(p.state)
	retryAfter(v.w.Header(), p.retryAfter)
	if !v.wantsPage() || v.writePage(p, a) != nil {
		v.writeProblem(p, a)
	}
	return nil
}

// wantsPage tells whether a person is to read the answer. Only GET and POST
// can go on from a page.
func (v *visit) wantsPage() bool {
	switch v.r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		return false
	}
	switch v.mode() {
	case respondPage:
		return !v.status
	case respondHold:
		return !v.status && isNavigation(v.r)
	}
	return false
}

func (v *visit) writeProblem(p problem, a *approval.Approval) {
	document := problemJSON{
		Type:   problemBase + p.state,
		Title:  p.title,
		Status: p.status,
		Detail: p.detail,
		Field:  p.field,
	}
	if a != nil {
		document.Approval = asJSON(*a)
	}
	v.writeJSON(p.status, "application/problem+json", document)
}

// writePage writes the page for a problem. Where it returns an error, nothing
// was written.
func (v *visit) writePage(p problem, a *approval.Approval) error {
	view := page.View{
		State:      p.page,
		Method:     v.r.Method,
		Language:   v.language(),
		RetryAfter: p.retryAfter,
		Detail:     p.field,
	}
	if view.Method == http.MethodHead {
		view.Method = http.MethodGet
	}
	if a != nil {
		view.Text, view.Code, view.ApprovalID = a.Text, a.Code, a.ID
		if a.State.Waiting() {
			view.ExpiresAt = a.ExpiresAt
		}
		switch {
		case p.page == page.Conflict:
			// It is not this request's approval: nothing can be done with it
			// from here.
			view.Text, view.Code = "", ""
		case view.Method == http.MethodGet:
			query, _ := cutControl(originalURL(v.r).RawQuery)
			view.Handle = a.Handle()
			view.RestartURL = controlLink(query, controlRestart, view.Handle)
			view.CancelURL = controlLink(query, controlCancel, view.Handle)
		case v.park(*a):
			view.Handle = a.Handle()
		}
	}
	body, err := page.Render(view)
	if err != nil {
		v.logger.Error("rendering a page", zap.Error(err))
		return err
	}
	page.SetHeaders(v.w.Header())
	v.w.WriteHeader(p.status)
	v.write(body)
	return nil
}

// park keeps the request's content with the approval, so that the page can go
// on with it. It tells whether something is kept.
func (v *visit) park(a approval.Approval) bool {
	if !v.hasBody {
		// A control has no content of its own: is that of its request there?
		_, err := v.engine.Parked(v.r.Context(), v.session, a)
		return err == nil
	}
	request := v.fingerprint()
	if v.Remember > 0 {
		// There is one place, and the request of another page may have it.
		parked, err := v.engine.Parked(v.r.Context(), v.session, a)
		if err == nil && !bytes.Equal(parked.Request, request) {
			return false
		}
	}
	err := v.engine.Park(v.r.Context(), v.session, a, approval.Parked{
		Request: request,
		Header:  meaningfulHeaders(v.r.Header),
		Body:    v.body,
	})
	if err != nil {
		v.logger.Warn("parking a request: the person must send it again", zap.String("approval_id", a.ID), zap.Error(err))
	}
	return err == nil
}

// tell answers a question for the state, as soon as there is an answer or the
// time is over.
func (v *visit) tell(a approval.Approval) *passage {
	// Without a seat, the answer is what is known: the client asks again.
	if a.State.Waiting() && v.statusWait > 0 && v.sit() {
		return v.await(a, v.statusWait, (*visit).tellNow)
	}
	return v.tellNow(a, nil)
}

// tellNow answers with the state as it is.
func (v *visit) tellNow(a approval.Approval, err error) *passage {
	switch {
	case errors.Is(err, approval.ErrNotFound):
		return v.refuse(problemGone)
	case err != nil:
		return v.trouble(err)
	}
	if p, own := problemOf(a); !own && a.Reason == approval.ReasonUnknownUser {
		return v.refuse(p)
	}
	v.ours(publicState(a.State))
	v.writeJSON(http.StatusOK, "application/json", asJSON(a))
	return nil
}

func (v *visit) writeJSON(status int, contentType string, content any) {
	body, err := json.Marshal(content)
	if err != nil {
		// Cannot happen with the types above.
		v.logger.Error("writing an answer", zap.Error(err))
		v.w.WriteHeader(http.StatusInternalServerError)
		return
	}
	v.w.Header().Set("Content-Type", contentType)
	v.w.WriteHeader(status)
	v.write(append(body, '\n'))
}

func (v *visit) write(body []byte) {
	if _, err := v.w.Write(body); err != nil {
		v.logger.Debug("client has gone before its answer", zap.Error(err))
	}
}
