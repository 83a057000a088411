package caddymodule_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// contextNotBound changes one thing that could make an approved request do
// something else.
func (w *siege) contextNotBound(t *testing.T) {
	p := w.person(t)
	r := p.request("POST", "/auto/adv1?a=1", "amount=100", formType)
	p.approved(r)
	change := func(do func(*http.Request)) *http.Request {
		changed := p.mine(r)
		do(changed)
		return changed
	}
	p.withheldAll(map[string]*http.Request{
		"body":             change(func(r *http.Request) { setBody(r, "amount=900") }),
		"query":            change(func(r *http.Request) { r.URL.RawQuery = "a=2" }),
		"path":             change(func(r *http.Request) { r.URL.Path = "/auto/adv1b" }),
		"method":           change(func(r *http.Request) { r.Method = "PUT" }),
		"host":             change(func(r *http.Request) { r.Host = "other.example" }),
		"scheme":           change(func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") }),
		"content type":     change(func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }),
		"content encoding": change(func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }),
		"content range":    change(func(r *http.Request) { r.Header.Set("Content-Range", "bytes 0-1/9") }),
		"user":             change(func(r *http.Request) { r.Header.Set("Remote-User", userName(people-2)) }),
		"session":          change(func(r *http.Request) { r.Header.Del("Step-Up-Session") }),
	})
	passed(t, p.send(p.mine(r)))
}

// textTrimmed sends values whose spaces another program could lose or keep.
// They are refused, or shown and sent as they are.
func (w *siege) textTrimmed(t *testing.T) {
	p := w.person(t)
	for _, to := range []string{"a+", "+a", "a%20", "%20a", "a++b", "a%20%20b", "a%C2%A0", "a%C2%A0b", "a%E2%80%83b", "a%E3%80%80", "a%09", "a%0D%0A", "a%00", "a%00b"} {
		a := p.send(p.request("POST", "/form/adv2", "amount=1&to="+to, formType))
		refused(t, a, http.StatusUnprocessableEntity, "invalid")
	}
	p.pushed(0)
	p.untouched()

	const body = "amount=1&to=a%20b+c&note=%20%20x+"
	held := p.sending(p.request("POST", "/form/adv2", body, formType))
	if q := p.approve(); !strings.HasPrefix(q.Text, "Betal 1 kr. til a b c [") {
		t.Errorf("the phone shows %q", q.Text)
	}
	passed(t, held())
	if got := w.upstream.arrivals("/form/adv2"); len(got) != 1 || got[0].body != body {
		t.Errorf("the application saw %+v", got)
	}
}

// textCut sends values that end beyond what a phone shows.
func (w *siege) textCut(t *testing.T) {
	p := w.person(t)
	for _, to := range []string{
		strings.Repeat("a", 131),
		strings.Repeat("a", 130-len("Betal 1 kr. til ")-len(" [XXXX]")+1),
		strings.Repeat("a", 10_000),
		"Mor" + strings.Repeat("+.", 60) + "+og+til+en+anden",
	} {
		a := p.send(p.request("POST", "/form/adv3", "amount=1&to="+to, formType))
		refused(t, a, http.StatusUnprocessableEntity, "invalid")
	}
	refused(t, p.send(p.request("POST", "/auto/"+strings.Repeat("a", 10_000), "")), http.StatusUnprocessableEntity, "invalid")
	p.pushed(0)
	p.untouched()
}

// rulesChanged changes the text of a route between the approval and the
// request.
func (w *siege) rulesChanged(t *testing.T) {
	p, parked := w.person(t), w.person(t).keepCookies()
	r := p.request("POST", "/rules/a", "amount=1")
	p.approved(r)
	page := parked.browse(parked.request("POST", "/rules/b", "amount=1", formType))
	parked.approve()
	if state := parked.awaitPage(page); state != "approved" {
		t.Fatalf("state is %s", state)
	}
	w.besiege("Bekræft")
	p.client.CloseIdleConnections()
	parked.client.CloseIdleConnections()
	refused(t, p.send(p.mine(r, "Step-Up-Status: 0")), http.StatusForbidden, "none")
	withheld(t, "the same request", p.send(p.mine(r, async)))
	withheld(t, "the page", parked.send(page.submit("continue")))
	p.untouched()
	parked.untouched()
	w.besiege("Betal")
	p.client.CloseIdleConnections()
	passed(t, p.send(p.mine(r)))
}

// releaseWithoutCheck tries every way by which an approved request can go on,
// with another request.
func (w *siege) releaseWithoutCheck(t *testing.T) {
	p := w.person(t).keepCookies()
	r := p.request("POST", "/auto/adv5", "amount=1", formType)
	page := p.browse(r)
	p.approve()
	if state := p.awaitPage(page); state != "approved" {
		t.Fatalf("state is %s", state)
	}
	handle := pageHandle.FindStringSubmatch(page.body)[1]
	id, _, _ := strings.Cut(handle, ".")
	control := "step_up=continue&step_up_approval=" + handle
	p.withheldAll(map[string]*http.Request{
		"the request":        p.request("POST", "/auto/adv5", "amount=9", formType),
		"a handle":           p.request("POST", "/auto/adv5", "amount=9", formType, "Step-Up-Approval: "+handle),
		"an id":              p.request("POST", "/auto/adv5", "amount=9", formType, "Step-Up-Approval: "+id),
		"a restart":          p.request("POST", "/auto/adv5", "amount=9", formType, "Step-Up-Restart: "+id),
		"a control and more": p.request("POST", "/auto/adv5", control+"&amount=9", formType),
		"more and a control": p.request("POST", "/auto/adv5", "amount=9&"+control, formType),
		"a form elsewhere":   p.request("POST", "/auto/adv5b", control, formType),
		"a form with PUT":    p.request("PUT", "/auto/adv5", control, formType),
		"a form, not a form": p.request("POST", "/auto/adv5", control, "Content-Type: text/plain"),
		"a link":             p.request("GET", "/auto/adv5?"+control, ""),
		"a link with HEAD":   p.request("HEAD", "/auto/adv5?"+control, ""),
		"a link with POST":   p.request("POST", "/auto/adv5?"+control, "amount=1", formType),
	})
	passed(t, page.goesOn())
	if got := w.upstream.arrivals("/auto/adv5"); len(got) != 1 || got[0].body != "amount=1" {
		t.Errorf("the application saw %+v", got)
	}

	// And there is one place that lets a request through.
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var ways []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "ServeHTTP" {
				ways = append(ways, file)
			}
			return true
		})
	}
	if len(ways) != 1 {
		t.Errorf("the next handler is called in %v, want one place", ways)
	}
}

// internalFields sends what the gate uses between itself and its pages, with
// the approval of somebody else and of another request.
func (w *siege) internalFields(t *testing.T) {
	victim := w.person(t).keepCookies()
	page := victim.browse(victim.request("POST", "/auto/adv6", "amount=1", formType))
	victim.approve()
	if state := victim.awaitPage(page); state != "approved" {
		t.Fatalf("state is %s", state)
	}
	handle := pageHandle.FindStringSubmatch(page.body)[1]
	id, key, _ := strings.Cut(handle, ".")
	p := w.person(t)
	post := func(header ...string) *http.Request {
		return p.request("POST", "/auto/adv6", "amount=1", append(header, formType)...)
	}
	p.withheldAll(map[string]*http.Request{
		"a state":           post("Step-Up-State: approved"),
		"a grant":           post("Step-Up-Approval: "+id, "Step-Up-User: "+victim.name, "Step-Up-Time: 2026-01-01T00:00:00Z"),
		"a handle":          post("Step-Up-Approval: " + handle),
		"a handle, aliased": post("Step_Up_Approval: " + handle),
		"a key as session":  post("Step-Up-Session: " + key),
		"an id as cookie":   post("Cookie: step_up=" + id + "; __Host-step_up=" + handle),
		"a query":           p.request("POST", "/auto/adv6?step_up_state=approved", "amount=1", formType),
		"a link":            p.request("GET", "/auto/adv6?step_up=continue&step_up_approval="+handle, ""),
		"a form":            p.request("POST", "/auto/adv6", "step_up=continue&step_up_approval="+handle, formType),
	})
	victim.untouched()
}

// nestedContent hides what is asked for in content within content.
func (w *siege) nestedContent(t *testing.T) {
	p := w.person(t)
	multipart := func(parts ...string) string {
		return "--b\r\n" + strings.Join(parts, "\r\n--b\r\n") + "\r\n--b--\r\n"
	}
	const (
		multipartType = "Content-Type: multipart/form-data; boundary=b"
		amount        = "Content-Disposition: form-data; name=\"amount\"\r\n\r\n1"
		to            = "Content-Disposition: form-data; name=\"to\"\r\n\r\na"
	)
	for _, c := range []struct{ name, path, body, contentType string }{
		{"multipart in a part", "/form/adv7", multipart(amount, to,
			"Content-Disposition: form-data; name=\"x\"\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n"+amount+"\r\n--c--"), multipartType},
		{"a boundary in a part", "/form/adv7", multipart(amount, to+"\r\n--b\r\n"+amount), multipartType},
		{"a part before the first", "/form/adv7", amount + "\r\n" + multipart(amount, to), multipartType},
		{"an encoded part", "/form/adv7", multipart(amount, "Content-Transfer-Encoding: base64\r\n"+to), multipartType},
		{"two boundaries", "/form/adv7", multipart(amount, to), multipartType + "; boundary=c"},
		{"a form as JSON", "/form/adv7", `{"amount":1,"to":"a"}`, jsonType},
		{"a part that is JSON", "/form/adv7", multipart(amount, "Content-Disposition: form-data; name=\"to\"\r\nContent-Type: application/json\r\n\r\n\"a\""), multipartType},
		{"JSON in a string", "/json/adv7", `{"payment":"{\"amount\":1}"}`, jsonType},
		{"JSON in an array", "/json/adv7", `[{"payment":{"amount":1}}]`, jsonType},
		{"JSON after JSON", "/json/adv7", `{"payment":{"amount":1}}{"payment":{"amount":9}}`, jsonType},
	} {
		a := p.send(p.request("POST", c.path, c.body, c.contentType))
		if a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: answer is %d", c.name, a.status)
		}
		refused(t, a, http.StatusUnprocessableEntity, "invalid")
	}
	p.pushed(0)
	p.untouched()
}

// duplicateKeys sends a key twice, as two parsers would read it.
func (w *siege) duplicateKeys(t *testing.T) {
	p := w.person(t)
	for _, body := range []string{
		`{"payment":{"amount":1,"amount":9}}`,
		`{"payment":{"amount":1,"Amount":9}}`,
		`{"payment":{"amount":1,"am\u006funt":9}}`,
		`{"payment":{"amount":1},"payment":{"amount":9}}`,
		`{"payment":{"amount":1},"PAYMENT":{"amount":9}}`,
		`{"payment":{"Amount":1}}`,
	} {
		refused(t, p.send(p.request("POST", "/json/adv8", body, jsonType)), http.StatusUnprocessableEntity, "invalid")
	}
	p.pushed(0)
	p.untouched()
}

// parameterSmuggling sends parameters that some programs do not see, or see as
// others.
func (w *siege) parameterSmuggling(t *testing.T) {
	p := w.person(t)
	for _, query := range []string{
		"amount=1;amount=9", "amount=1&amount=9", "amount=1&amount=%zz", "amount=1%", "amount=1&a%6Dount=9",
		"amount=1&amount[]=9", "amount=1&Amount=9", "amount=1&amount.=9", "amount=1&%00amount=9", "amount=%FF",
	} {
		refused(t, p.send(p.request("GET", "/query/adv9?"+query, "")), http.StatusUnprocessableEntity, "invalid")
		form := strings.ReplaceAll(query, "amount=1", "to=a&amount=1")
		refused(t, p.send(p.request("POST", "/form/adv9", form, formType)), http.StatusUnprocessableEntity, "invalid")
	}
	for _, c := range [][2]string{
		{"/query/adv9?amount=1", "amount=9"}, {"/form/adv9?amount=9", "amount=1&to=a"}, {"/form/adv9?x=%zz", "amount=1&to=a"},
	} {
		refused(t, p.send(p.request("POST", c[0], c[1], formType)), http.StatusUnprocessableEntity, "invalid")
	}
	p.pushed(0)
	p.untouched()
}

// tooManyParameters sends what counts behind more parameters than others read.
func (w *siege) tooManyParameters(t *testing.T) {
	p := w.person(t)
	many := strings.Repeat("a&", 10_000)
	refused(t, p.send(p.request("GET", "/query/adv10?"+many+"amount=1", "")), http.StatusUnprocessableEntity, "invalid")
	refused(t, p.send(p.request("GET", "/query/adv10?amount=1&"+many+"amount=9", "")), http.StatusUnprocessableEntity, "invalid")
	refused(t, p.send(p.request("POST", "/form/adv10", many+"amount=1&to=a", formType)), http.StatusUnprocessableEntity, "invalid")
	p.pushed(0)
	p.untouched()
}

// bidiControls sends characters that show as something else, somewhere else,
// or not at all.
func (w *siege) bidiControls(t *testing.T) {
	p := w.person(t)
	for _, r := range "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c" + // direction
		"\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\u034f\u3164\uffa0\u2800" + // nothing to see
		"\u2028\u2029\u0085\u007f\u001b" + // lines and controls
		"\u05d0\u0627\u0661\u06f1\uff11\u0967\u00b2\u2460\U0001d7ce" + // right to left, other digits
		"\ufe00\U000e0041\ue000" {
		body := `{"payment":{"amount":"1` + string(r) + `2"}}`
		refused(t, p.send(p.request("POST", "/json/adv11", body, jsonType)), http.StatusUnprocessableEntity, "invalid")
	}
	p.pushed(0)
	p.untouched()
}
