// Package page renders what a person sees in the browser while a request waits
// for approval, and after the approval has ended without one.
//
// A page is served at the very URL that is protected and is complete in
// itself: its style and its script are inline and named by their hashes in the
// Content-Security-Policy, and it loads nothing. It works without the script.
//
// While an approval is pending, the script asks for its state with a request
// of the same method to the same URL and the headers
//
//	Step-Up-Status: 25             seconds that the answer may be held back
//	Step-Up-Approval: <Handle>
//	Accept: application/json
//
// and expects a JSON object with the member "state" and the response header
// Step-Up-State, which tells the gate's answers from those of the application
// behind it. When the approval has been given or has ended, the script loads
// the page again (GET) or posts the form "continue" (POST). It never asks for
// a new approval.
//
// The forms of a POST page are application/x-www-form-urlencoded with exactly
// two fields, in this order: step_up, which is continue, restart or cancel,
// and step_up_approval, which is the handle. A GET page has links in their
// place, which the caller provides. The answer to such a link should be a
// redirect (303) to the URL without the control parameters, for a page must not
// be reloaded at a URL that asks for something.
package page

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html"
	"html/template"
	"math"
	"net/http"
	"time"
)

// State says which page is shown.
type State string

// The states that have a page.
const (
	// Pending means that the person has been asked and has not answered.
	Pending State = "pending"

	// Denied means that the person refused.
	Denied State = "denied"

	// Expired means that the person did not answer in time.
	Expired State = "expired"

	// Cancelled means that the approval was withdrawn from the page.
	Cancelled State = "cancelled"

	// Failed means that the approval ended by a fault.
	Failed State = "failed"

	// Spent means that the approval was good for one request, which has been
	// sent on.
	Spent State = "spent"

	// Unavailable means that nobody can be asked at the moment.
	Unavailable State = "unavailable"

	// Forbidden means that there is no user, or none who may approve here.
	Forbidden State = "forbidden"

	// Conflict means that the person has another approval to answer first.
	Conflict State = "conflict"

	// Limited means that too many approvals have been asked for.
	Limited State = "limited"

	// Invalid means that the request cannot be shown on the phone in full and
	// without doubt.
	Invalid State = "invalid"

	// CrossSite means that the request came from another site. A GET page has a
	// link that asks for it again, from here.
	CrossSite State = "cross_site"
)

// View is what one page shows. The zero value of a field leaves out what it
// stands for, except where its comment says otherwise.
type View struct {
	// State chooses the page. It must be one of the constants.
	State State

	// Method is the method of the request that waits, GET or POST. It must be
	// set.
	Method string

	// Language is the language of the page, as [Match] gives it. It must be
	// set.
	Language Language

	// Text is exactly what the phone shows. It is never cut.
	Text string

	// Code is the check code that is also part of Text.
	Code string

	// ExpiresAt is when the pending approval lapses. Without the script it is
	// shown in its own time zone, with that zone's abbreviation.
	ExpiresAt time.Time

	// Now is the time of rendering, from which the time left is counted. The
	// zero value means [time.Now].
	Now time.Time

	// RetryAfter is how long to wait before another try, on the pages of
	// Unavailable, Limited and Conflict. It is shown rounded up, in seconds or
	// minutes. Zero stands for an indefinite little while.
	RetryAfter time.Duration

	// Detail names what is wrong, for the page of Invalid: the name of a form
	// field, for example.
	Detail string

	// Handle is the opaque reference to the approval in the forms and in the
	// script's requests. Without a handle a POST page has no controls, and the
	// script does not ask for the state.
	Handle string

	// ApprovalID is the public id that people can quote to support.
	ApprovalID string

	// RestartURL and CancelURL are the links of a GET page that ask for a new
	// approval and withdraw the pending one. CheckURL loads the page again;
	// when it is empty, the page's own URL is used. Links must begin with a
	// question mark, and so stay at the same path.
	RestartURL, CancelURL, CheckURL string
}

// Render writes the page for v in UTF-8. The answer also needs the headers of
// [SetHeaders].
//
// It returns an error if the state, the method or the language is none of the
// known ones, or if a link does not begin with a question mark or holds bytes
// that a URL's query cannot hold. The error repeats nothing from v.
func Render(v View) ([]byte, error) {
	w := tables[v.Language]
	if w == nil {
		return nil, errors.New("rendering page: unknown language; use Match to choose one")
	}
	m := w.message(v.State)
	if m == nil {
		return nil, errors.New("rendering page: unknown state; use the constants of package page")
	}
	if v.Method != http.MethodGet && v.Method != http.MethodPost {
		return nil, errors.New("rendering page: unknown method; only GET and POST requests have pages")
	}

	d := data{View: v, Words: w, Message: m, Style: style, Script: script}
	for _, link := range []struct {
		name, url string
		href      *template.HTMLAttr
	}{
		{"restart", v.RestartURL, &d.RestartHref},
		{"cancel", v.CancelURL, &d.CancelHref},
		{"check", v.CheckURL, &d.CheckHref},
	} {
		if !isQuery(link.url) {
			return nil, fmt.Errorf("rendering page: the %s link must begin with '?' and hold a query only", link.name)
		}
		// Not {{.URL}} in the template: its normalization would rewrite
		// characters of the query, such as parentheses, and a request with
		// another raw query needs another approval.
		*link.href = template.HTMLAttr(`href="` + html.EscapeString(link.url) + `"`)
	}

	var buf bytes.Buffer
	if err := pageTemplate.Execute(&buf, d); err != nil {
		return nil, fmt.Errorf("rendering page: %w", err)
	}
	return buf.Bytes(), nil
}

// isQuery reports whether s is empty or a relative URL of a query only.
func isQuery(s string) bool {
	if s != "" && s[0] != '?' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '#' {
			return false
		}
	}
	return true
}

//go:embed page.html page.css page.js
var files embed.FS

var (
	pageTemplate = template.Must(template.ParseFS(files, "page.html"))
	style        = template.CSS(mustRead("page.css"))
	script       = template.JS(mustRead("page.js"))
)

// mustRead returns an embedded file.
func mustRead(name string) string {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// data is what the template sees.
type data struct {
	View
	Words   *words
	Message *message
	Style   template.CSS
	Script  template.JS

	RestartHref, CancelHref, CheckHref template.HTMLAttr
}

// IsPending reports whether an answer can still come.
func (d data) IsPending() bool { return d.State == Pending }

// IsPost reports whether the controls are forms.
func (d data) IsPost() bool { return d.Method == http.MethodPost }

// CanContinue reports whether the page has a form that goes on.
func (d data) CanContinue() bool { return d.IsPending() && d.IsPost() && d.Handle != "" }

// CanCheck reports whether the page has a link to itself: where nothing has
// been started, it is the way to try again.
func (d data) CanCheck() bool {
	return !d.IsPost() && (d.IsPending() || d.MayRetry() || d.IsCrossSite())
}

// IsCrossSite reports whether the request came from another site.
func (d data) IsCrossSite() bool { return d.State == CrossSite }

// CanCancel reports whether the page has a control that withdraws the approval.
func (d data) CanCancel() bool { return d.IsPending() && d.controls(d.CancelURL) }

// CanRestart reports whether the page has a control that asks again.
func (d data) CanRestart() bool {
	switch d.State {
	case Denied, Expired, Cancelled, Failed, Spent:
		return d.controls(d.RestartURL)
	}
	return false
}

// HasControls reports whether the page has any control.
func (d data) HasControls() bool {
	return d.CanContinue() || d.CanCheck() || d.CanRestart() || d.CanCancel()
}

// controls reports whether the caller has provided for a control: a handle for
// a form, else the link.
func (d data) controls(url string) bool {
	if d.IsPost() {
		return d.Handle != ""
	}
	return url != ""
}

// MayRetry reports whether the same request may succeed later.
func (d data) MayRetry() bool {
	return d.State == Unavailable || d.State == Limited || d.State == Conflict
}

// Retry says when to try again. It never says "1", which keeps plurals out of
// the tables, and rounds up, so that nobody comes too early.
func (d data) Retry() string {
	switch {
	case d.RetryAfter <= 0:
		return d.Words.RetrySoon
	case d.RetryAfter <= time.Minute:
		return fmt.Sprintf(d.Words.RetrySeconds, int(math.Ceil(max(d.RetryAfter.Seconds(), 2))))
	default:
		return fmt.Sprintf(d.Words.RetryMinutes, int(math.Ceil(d.RetryAfter.Minutes())))
	}
}

// Clock is the time of day at which the approval lapses.
func (d data) Clock() string { return d.ExpiresAt.Format(d.Words.ClockLayout) }

// SecondsLeft is the time left, in whole seconds.
func (d data) SecondsLeft() int {
	now := d.Now
	if now.IsZero() {
		now = time.Now()
	}
	return max(int(d.ExpiresAt.Sub(now)/time.Second), 0)
}

// form is a control of a POST page.
type form struct {
	Control string // the value of step_up
	Handle  string
	Label   string
}

// Form returns a control for the template.
func (d data) Form(control, label string) form { return form{control, d.Handle, label} }
