package page

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	xhtml "golang.org/x/net/html"
)

var hostile = []string{
	`</script><img src=x onerror=alert(1)>`,
	`</style><script>alert(1)</script>`,
	`</title></noscript><!--`,
	`{{.}}{{define "form"}}x{{end}}`,
	`" onfocus="alert(1)" autofocus x="`,
	`' onfocus='alert(1)`,
	"` + alert(1) + `",
	`&lt;b&gt;&quot;`,
	"\u202e.kr 1 til\u2069\u2069</blockquote>",
	"https://evil.example/",
	"{env.SECRET}",
}

// What comes from a request adds no element and no attribute, and is shown as
// it is.
func TestRender_escapesHostileValues(t *testing.T) {
	shape := func(doc *xhtml.Node) []string {
		var s []string
		for n := range doc.Descendants() {
			if n.Type != xhtml.ElementNode {
				continue
			}
			s = append(s, "<"+n.Data)
			for _, a := range n.Attr {
				s = append(s, a.Key)
			}
		}
		return s
	}
	forEachPage(t, func(t *testing.T, v View) {
		want := shape(parse(t, render(t, v)))
		for _, h := range hostile {
			v.Text, v.Code, v.Detail, v.Handle, v.ApprovalID = h, h, h, h, h
			doc := parse(t, render(t, v))
			if diff := cmp.Diff(want, shape(doc)); diff != "" {
				t.Errorf("%q changes the page (-want +got):\n%s", h, diff)
			}
			if got := text(find(doc, "blockquote")[0]); got != h {
				t.Errorf("text: %q, want %q", got, h)
			}
			if got := attr(find(doc, "main")[0], "data-handle"); got != h {
				t.Errorf("handle: %q, want %q", got, h)
			}
			for _, in := range find(doc, "input") {
				if attr(in, "name") == "step_up_approval" && attr(in, "value") != h {
					t.Errorf("field: %q, want %q", attr(in, "value"), h)
				}
			}
		}
	})
}

// A value with characters that reverse the writing direction must not reorder
// the words around it. An inline isolate would not do: a stray U+2069 in the
// value closes it. A block is a paragraph of its own (Unicode UAX #9, P1).
func TestRender_isolatesWritingDirection(t *testing.T) {
	const rlo = "\u2069\u202e1234"
	forEachPage(t, func(t *testing.T, v View) {
		v.Text, v.Code, v.Detail, v.ApprovalID = rlo, rlo, rlo, rlo
		for n := range parse(t, render(t, v)).Descendants() {
			if n.Type != xhtml.TextNode || !strings.Contains(n.Data, rlo) {
				continue
			}
			p := n.Parent
			if n.Data != rlo || attr(p, "dir") != "auto" || (p.Data != "p" && p.Data != "blockquote") {
				t.Errorf("value beside other words in <%s %v>", p.Data, p.Attr)
			}
		}
	})
}

// The query is bound into the approval byte for byte: a link that a template
// has normalized would ask for another approval.
func TestRender_keepsLinksByteForByte(t *testing.T) {
	for _, url := range []string{
		"?",
		"?a=1&b=2&lt;=3&amp;=4",
		"?name=O'Brien(x)*;~!$,:@/?[]{}|^`\\",
		`?q="onmouseover=alert(1)<script>`,
		"?at=12:30&javascript:alert(1)",
		"?bad=%zz&%41=%2541&+=+",
	} {
		v := full(Pending, English, "GET")
		v.CheckURL = url
		v.CancelURL = url
		want := []control{{"Check now", url}, {"Cancel", url}}
		if diff := cmp.Diff(want, controls(t, parse(t, render(t, v)))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", url, diff)
		}
		v = full(Denied, English, "GET")
		v.RestartURL = url
		if diff := cmp.Diff([]control{{"Try again", url}}, controls(t, parse(t, render(t, v)))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", url, diff)
		}
	}
}

func TestRender_refusesLinksThatLeaveThePath(t *testing.T) {
	for _, url := range []string{
		"/", "//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "data:,x",
		"evil", "./?a", "#x", " ?a", "\t?a", "\n//evil.example", "\\?a", "&a", "\u00a0?a", "\ufeff?a",
		"?a b", "?a\tb", "?a\nb", "?a\r\nX: y", "?a\x00", "?a\x7f", "?a#b", "?æ", "?\xff",
	} {
		for name, set := range map[string]func(*View){
			"restart": func(v *View) { v.RestartURL = url },
			"cancel":  func(v *View) { v.CancelURL = url },
			"check":   func(v *View) { v.CheckURL = url },
		} {
			// On every page: whether a link is shown is not what makes it good.
			for _, s := range states {
				v := full(s, English, "POST")
				set(&v)
				body, err := Render(v)
				if err == nil || body != nil {
					t.Fatalf("%s link %q on %s: no error", name, url, s)
				}
				if want := "the " + name + " link"; !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "evil") {
					t.Errorf("%s link %q: error %q", name, url, err)
				}
			}
		}
	}
}
