package page

import (
	"bytes"
	"fmt"
	"html"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	xhtml "golang.org/x/net/html"
)

var states = []State{
	Pending, Denied, Expired, Cancelled, Failed, Spent,
	Unavailable, Forbidden, Conflict, Limited, Invalid, CrossSite,
}

var methods = []string{http.MethodGet, http.MethodPost}

// full is a view with every field set.
func full(s State, l Language, method string) View {
	now := time.Date(2026, 11, 22, 13, 27, 0, 0, time.UTC)
	return View{
		State:      s,
		Method:     method,
		Language:   l,
		Text:       "Betal 125,00 kr. til Æblegården [K7PX]",
		Code:       "K7PX",
		ExpiresAt:  now.Add(5 * time.Minute),
		Now:        now,
		RetryAfter: 30 * time.Second,
		Detail:     "amount",
		Handle:     "abc.def",
		ApprovalID: "7K3QXW2M",
		RestartURL: "?a=1&step_up=restart&step_up_approval=abc.def",
		CancelURL:  "?a=1&step_up=cancel&step_up_approval=abc.def",
		CheckURL:   "?a=1",
	}
}

// forEachPage runs f for every state, language and method.
func forEachPage(t *testing.T, f func(*testing.T, View)) {
	for _, s := range states {
		for l := range tables {
			for _, m := range methods {
				t.Run(fmt.Sprintf("%s/%s/%s", s, l, m), func(t *testing.T) { f(t, full(s, l, m)) })
			}
		}
	}
}

func render(t *testing.T, v View) []byte {
	t.Helper()
	body, err := Render(v)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func parse(t *testing.T, body []byte) *xhtml.Node {
	t.Helper()
	doc, err := xhtml.Parse(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// find returns the elements of one name, in document order.
func find(doc *xhtml.Node, name string) []*xhtml.Node {
	var found []*xhtml.Node
	for n := range doc.Descendants() {
		if n.Type == xhtml.ElementNode && n.Data == name {
			found = append(found, n)
		}
	}
	return found
}

func attr(n *xhtml.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func hasAttr(n *xhtml.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a xhtml.Attribute) bool { return a.Key == name })
}

// text returns the text inside n, but for what is only for browsers without
// scripts.
func text(n *xhtml.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == xhtml.TextNode && d.Parent.Data != "noscript" {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

// The page's elements are all closed in the order in which they were opened:
// nothing that was inserted can swallow what follows it.
func TestRender_isWellFormed(t *testing.T) {
	void := map[string]bool{"meta": true, "input": true}
	forEachPage(t, func(t *testing.T, v View) {
		body := render(t, v)
		if !bytes.HasPrefix(body, []byte("<!DOCTYPE html>\n")) {
			t.Errorf("begins with %.20q", body)
		}
		var open []string
		z := xhtml.NewTokenizer(bytes.NewReader(body))
		for z.Next() != xhtml.ErrorToken {
			switch tok := z.Token(); tok.Type {
			case xhtml.StartTagToken:
				if !void[tok.Data] {
					open = append(open, tok.Data)
				}
			case xhtml.EndTagToken:
				if len(open) == 0 || open[len(open)-1] != tok.Data {
					t.Fatalf("</%s> closes %v", tok.Data, open)
				}
				open = open[:len(open)-1]
			}
		}
		if len(open) > 0 {
			t.Errorf("never closed: %v", open)
		}
		if bytes.Contains(body, []byte("ZgotmplZ")) {
			t.Error("html/template refused a value")
		}
	})
}

// WCAG 2.1 success criteria 1.3.1, 2.4.2, 2.4.6, 3.1.1 and 4.1.1, as far as a
// parser can see them.
func TestRender_isAccessible(t *testing.T) {
	forEachPage(t, func(t *testing.T, v View) {
		doc := parse(t, render(t, v))
		if got := attr(find(doc, "html")[0], "lang"); got != string(v.Language) {
			t.Errorf("lang %q, want %q", got, v.Language)
		}
		h1 := find(doc, "h1")
		if len(h1) != 1 {
			t.Fatalf("%d h1, want 1", len(h1))
		}
		if title := find(doc, "title"); len(title) != 1 || text(title[0]) != text(h1[0]) {
			t.Error("the title does not tell the state")
		}
		if n := len(find(doc, "main")); n != 1 {
			t.Errorf("%d main, want 1", n)
		}
		if find(doc, "h3") != nil {
			t.Error("a heading level that the test does not know of")
		}

		ids := map[string]bool{}
		for n := range doc.Descendants() {
			if id := attr(n, "id"); id != "" {
				if ids[id] {
					t.Errorf("id %q occurs twice", id)
				}
				ids[id] = true
			}
			if hasAttr(n, "autofocus") || hasAttr(n, "tabindex") || hasAttr(n, "accesskey") {
				t.Errorf("<%s> takes the focus", n.Data)
			}
			if n.Data == "h2" && n.Parent.Data != "main" && n.Parent.Data != "section" {
				t.Errorf("h2 in <%s>", n.Parent.Data)
			}
		}

		var live []string
		for n := range doc.Descendants() {
			if attr(n, "role") == "status" {
				live = append(live, text(n))
			}
		}
		var want []string
		if v.State == Pending {
			want = []string{tables[v.Language].StatusPending}
		}
		if diff := cmp.Diff(want, live); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
	})
}

// The policy is the second line of defence; the page must not need anything
// that it forbids.
func TestRender_loadsNothingAndHandlesNothingInline(t *testing.T) {
	forEachPage(t, func(t *testing.T, v View) {
		body := render(t, v)
		for _, s := range []string{"http:", "https:", "//cdn", "url(", "@import", "javascript:"} {
			if bytes.Contains(body, []byte(s)) {
				t.Errorf("contains %q", s)
			}
		}
		for n := range parse(t, body).Descendants() {
			for _, a := range n.Attr {
				if strings.HasPrefix(a.Key, "on") || a.Key == "src" || a.Key == "srcset" || a.Key == "style" || a.Key == "action" || a.Key == "formaction" {
					t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
				}
				if a.Key == "href" && n.Data != "a" {
					t.Errorf("<%s href=%q>", n.Data, a.Val)
				}
			}
		}
	})
}

// control is what a person can press.
type control struct {
	Label string
	Sends string // the form's body, or the link
}

func controls(t *testing.T, doc *xhtml.Node) []control {
	t.Helper()
	var list []control
	for n := range doc.Descendants() {
		switch n.Data {
		case "a":
			list = append(list, control{text(n), attr(n, "href")})
		case "form":
			if attr(n, "method") != "post" || attr(n, "enctype") != "application/x-www-form-urlencoded" {
				t.Errorf("form with %v", n.Attr)
			}
			var fields []string
			for _, in := range find(n, "input") {
				if attr(in, "type") != "hidden" {
					t.Errorf("input with %v", in.Attr)
				}
				fields = append(fields, attr(in, "name")+"="+attr(in, "value"))
			}
			buttons := find(n, "button")
			if len(buttons) != 1 || attr(buttons[0], "type") != "submit" || hasAttr(buttons[0], "name") {
				t.Fatalf("form with %d buttons, or one that sends a field", len(buttons))
			}
			list = append(list, control{text(buttons[0]), strings.Join(fields, "&")})
		}
	}
	return list
}

// The gate takes exactly these bytes for a control; a POST page has no links
// and a GET page no forms, because a form with GET would replace the query.
func TestRender_controls(t *testing.T) {
	var (
		goOn    = control{"Continue", "step_up=continue&step_up_approval=abc.def"}
		restart = control{"Try again", "step_up=restart&step_up_approval=abc.def"}
		cancel  = control{"Cancel", "step_up=cancel&step_up_approval=abc.def"}

		checkLink   = control{"Check now", "?a=1"}
		retryLink   = control{"Try again", "?a=1"}
		restartLink = control{"Try again", "?a=1&step_up=restart&step_up_approval=abc.def"}
		cancelLink  = control{"Cancel", "?a=1&step_up=cancel&step_up_approval=abc.def"}
	)
	want := map[State]map[string][]control{
		Pending:     {"GET": {checkLink, cancelLink}, "POST": {goOn, cancel}},
		Denied:      {"GET": {restartLink}, "POST": {restart}},
		Expired:     {"GET": {restartLink}, "POST": {restart}},
		Cancelled:   {"GET": {restartLink}, "POST": {restart}},
		Failed:      {"GET": {restartLink}, "POST": {restart}},
		Spent:       {"GET": {restartLink}, "POST": {restart}},
		Unavailable: {"GET": {retryLink}},
		Forbidden:   {},
		Conflict:    {"GET": {retryLink}},
		Limited:     {"GET": {retryLink}},
		Invalid:     {},
		CrossSite:   {"GET": {{"Continue", "?a=1"}}},
	}
	for _, s := range states {
		for _, m := range methods {
			t.Run(string(s)+"/"+m, func(t *testing.T) {
				got := controls(t, parse(t, render(t, full(s, English, m))))
				if diff := cmp.Diff(want[s][m], got); diff != "" {
					t.Errorf("controls (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestRender_hasNoControlsWithoutWhatTheyNeed(t *testing.T) {
	for _, s := range states {
		for _, m := range methods {
			v := full(s, English, m)
			if m == "POST" {
				v.Handle = ""
			} else {
				v.RestartURL, v.CancelURL, v.CheckURL = "", "", ""
			}
			for _, c := range controls(t, parse(t, render(t, v))) {
				// The link to the page itself is always right.
				if m != "GET" || c.Sends != "" {
					t.Errorf("%s %s: %+v", m, s, c)
				}
			}
		}
	}
}

// A page that refreshed itself after POST would turn into a GET of the same
// URL, and one that has ended has nothing to wait for. The URL stays out of the
// element: html/template has been wrong about it before (CVE-2026-27142).
func TestRender_refreshesOnlyPendingGetPages(t *testing.T) {
	const refresh = `<noscript><meta http-equiv="refresh" content="5"></noscript>`
	forEachPage(t, func(t *testing.T, v View) {
		body := string(render(t, v))
		if got, want := strings.Contains(body, refresh), v.State == Pending && v.Method == "GET"; got != want {
			t.Errorf("refresh: %t, want %t", got, want)
		}
		if strings.Count(body, "http-equiv") != strings.Count(body, refresh) {
			t.Error("another http-equiv")
		}
	})
}

func TestRender_showsWhatThePhoneShows(t *testing.T) {
	v := full(Pending, Danish, "POST")
	v.Text = "Betal  125,00 kr.\ttil \"Æble & Co\" <b> [K7PX]"
	doc := parse(t, render(t, v))
	quotes := find(doc, "blockquote")
	if len(quotes) != 1 || text(quotes[0]) != v.Text {
		t.Fatalf("the text is not shown as it is")
	}
	if attr(quotes[0], "translate") != "no" {
		t.Error("a browser may translate the text")
	}
	if !strings.Contains(string(style), "white-space: pre-wrap") || !strings.Contains(string(style), "overflow-wrap: anywhere") {
		t.Error("the style may collapse spaces or hide the end of the text")
	}
	for _, s := range []string{"overflow: hidden", "text-overflow", "line-clamp", "text-transform", "max-height"} {
		if strings.Contains(string(style), s) {
			t.Errorf("%s may change or hide a part of the text", s)
		}
	}
}

func TestRender_leavesOutWhatIsNotThere(t *testing.T) {
	for _, s := range states {
		for _, m := range methods {
			doc := parse(t, render(t, View{State: s, Method: m, Language: Danish}))
			for _, name := range []string{"blockquote", "time", "form", "footer"} {
				if find(doc, name) != nil {
					t.Errorf("%s %s: <%s>", m, s, name)
				}
			}
			for n := range doc.Descendants() {
				if c := attr(n, "class"); c == "code" || c == "detail" || attr(n, "id") == "auto" {
					t.Errorf("%s %s: empty <%s %v>", m, s, n.Data, n.Attr)
				}
			}
		}
	}
}

// The code is a question to the person; once nothing can be approved any more
// there is nothing to compare it with.
func TestRender_asksToCompareTheCodeOnlyWhilePending(t *testing.T) {
	for l, w := range tables {
		for _, s := range states {
			v := full(s, l, "GET")
			if got, want := strings.Contains(string(render(t, v)), w.CodeLabel), s == Pending; got != want {
				t.Errorf("%s %s: code shown: %t, want %t", l, s, got, want)
			}
		}
		v := full(Pending, l, "GET")
		v.Code = ""
		if body := string(render(t, v)); strings.Contains(body, w.StepCompareCode) || !strings.Contains(body, w.StepCompare) {
			t.Errorf("%s: asks for a code that is not there", l)
		}
	}
}

func TestRender_warnsOfFraudWhilePending(t *testing.T) {
	for l, w := range tables {
		if body := html.UnescapeString(string(render(t, full(Pending, l, "GET")))); !strings.Contains(body, w.Warning) {
			t.Errorf("%s: no warning", l)
		}
	}
}

func TestRender_saysWhenItExpires(t *testing.T) {
	v := full(Pending, Danish, "GET")
	v.ExpiresAt = v.ExpiresAt.In(time.FixedZone("CET", 3600))
	n := find(parse(t, render(t, v)), "time")
	if len(n) != 1 || text(n[0]) != "14.32 (CET)" || attr(n[0], "data-left") != "300" {
		t.Errorf("time: %v", n)
	}

	v.Now = v.ExpiresAt.Add(time.Hour)
	if got := attr(find(parse(t, render(t, v)), "time")[0], "data-left"); got != "0" {
		t.Errorf("after the end: %s seconds left, want 0", got)
	}

	v.Now, v.ExpiresAt = time.Time{}, time.Now().Add(time.Hour)
	if got := attr(find(parse(t, render(t, v)), "time")[0], "data-left"); got != "3599" && got != "3600" {
		t.Errorf("by the clock: %s seconds left, want 3599 or 3600", got)
	}
}

func TestRender_saysWhenToTryAgain(t *testing.T) {
	for _, tc := range []struct {
		after time.Duration
		want  string
	}{
		{0, "Try again in a little while."},
		{-time.Second, "Try again in a little while."},
		{time.Millisecond, "Try again in 2 seconds."},
		{2001 * time.Millisecond, "Try again in 3 seconds."},
		{time.Minute, "Try again in 60 seconds."},
		{time.Minute + 1, "Try again in 2 minutes."},
		{time.Hour, "Try again in 60 minutes."},
	} {
		for _, s := range states {
			v := full(s, English, "POST")
			v.RetryAfter = tc.after
			got := strings.Contains(string(render(t, v)), "<p>"+tc.want+"</p>")
			if want := s == Unavailable || s == Limited || s == Conflict; got != want {
				t.Errorf("%s after %s: says %q: %t, want %t", s, tc.after, tc.want, got, want)
			}
		}
	}
}

func TestRender_refusesUnknownKinds(t *testing.T) {
	for name, change := range map[string]func(*View){
		"no state":         func(v *View) { v.State = "" },
		"unknown state":    func(v *View) { v.State = "approved" },
		"no language":      func(v *View) { v.Language = "" },
		"unknown language": func(v *View) { v.Language = "kl" },
		"no method":        func(v *View) { v.Method = "" },
		"unknown method":   func(v *View) { v.Method = "PUT" },
		"lowercase method": func(v *View) { v.Method = "get" },
	} {
		v := full(Pending, Danish, "GET")
		change(&v)
		if body, err := Render(v); err == nil || body != nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	v := full(Pending, Danish, http.MethodPost)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Render(v); err != nil {
			b.Fatal(err)
		}
	}
}
