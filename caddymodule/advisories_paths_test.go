package caddymodule_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// rawWithheld sends requests with these targets, as they are written. None may
// pass.
func (p *person) rawWithheld(t *testing.T, host string, targets ...string) {
	t.Helper()
	for _, target := range targets {
		if status := p.raw(t, "POST "+target+" HTTP/1.1\nHost: "+host+"\nContent-Length: 1", "x"); status == http.StatusOK {
			t.Errorf("%s: answer is 200", target)
		}
	}
	p.untouched()
}

// pathSpellings sends a guarded path in all the ways that one server or
// another reads as that path.
func (w *siege) pathSpellings(t *testing.T) {
	p := w.person(t)
	p.rawWithheld(t, p.gate,
		"/auto/x", "/AUTO/x", "/aUtO/x", "/%61uto/x", "/%41UTO/x", "//auto/x", "///auto///x", "/./auto/x", "/open/../auto/x", "/open/%2e%2e/auto/x",
		"/open/.%2E/auto/x", "/open/..%2fauto/x", "/open%2f..%2fauto/x", "/auto%2Fx", "/auto%2fx", "/auto/x#/open", "/auto/x?x=/open", "/auto/x?/open",
		"/auto/x;/open", "/auto//x", "/auto/../auto/x", "/auto/%00", "/auto/%5c..%5copen", "/auto/%ff",
		"/es%2Fcaped/x", "/es%2fcaped/x", "/ES%2FCAPED/x", "/%65s%2fcaped/x",
	)
	// And what was approved for one spelling is not good for another.
	p = w.person(t)
	r := p.request("POST", "/auto/adv45/a%2Fb", "x")
	p.approved(r)
	for _, path := range []string{"/auto/adv45/a/b", "/auto/adv45/a%2fb", "/auto/adv45//a%2Fb", "/auto/%61dv45/a%2Fb", "/AUTO/adv45/a%2Fb", "/auto/x/../adv45/a%2Fb"} {
		if status := p.raw(t, "POST "+path+" HTTP/1.1\nHost: "+p.gate+"\nStep-Up-Session: "+p.session+"\nContent-Length: 1", "x"); status == http.StatusOK {
			t.Errorf("%s: answer is 200", path)
		}
	}
	p.untouched()
	passed(t, p.send(p.mine(r)))
}

// hostCase sends hosts in other spellings, to a matcher with many of them.
func (w *siege) hostCase(t *testing.T) {
	p := w.person(t)
	for _, host := range []string{"host007.example", "HOST007.EXAMPLE", "hOsT007.example:80", "Host119.Example:8443", "ALL.example", "all.EXAMPLE:1"} {
		p.rawWithheld(t, host, "/guarded")
	}
}

// oddRequestLines sends what is no request, or says where it goes in another
// way.
func (w *siege) oddRequestLines(t *testing.T) {
	p := w.person(t)
	for line, want := range map[string]int{
		"POST http://" + p.gate + "/auto/x HTTP/1.1": http.StatusUnauthorized,
		"POST http://all.example/auto/x HTTP/1.1":    http.StatusUnauthorized,
		"POST * HTTP/1.1":                            0, // 400 or gated
		"OPTIONS * HTTP/1.1":                         0, // answered by net/http
		"POST auto/x HTTP/1.1":                       http.StatusBadRequest,
		"POST  /auto/x HTTP/1.1":                     http.StatusBadRequest,
		"POST /auto/x y HTTP/1.1":                    http.StatusBadRequest,
		"POST /auto/%zz HTTP/1.1":                    http.StatusBadRequest,
		"POST /auto/\x01 HTTP/1.1":                   http.StatusBadRequest,
		"PO(ST /auto/x HTTP/1.1":                     http.StatusBadRequest,
		"POST /auto/x HTTP/1.1\nX-\u017ftep: 1":      http.StatusBadRequest,
		"POST /auto/x HTTP/1.1\nStep-Up-Session : x": http.StatusBadRequest,
		"POST /auto/x HTTP/1.1\nX: a\x00b":           http.StatusBadRequest,
		"POST /auto/x HTTP/1.1\nHost: other.example": http.StatusBadRequest,
	} {
		// Each by somebody else: one request is not to be in another's way.
		p := w.person(t)
		got := p.raw(t, line+"\nHost: all.example\nContent-Length: 1", "x")
		if want != 0 && got != want {
			t.Errorf("%q: answer is %d, want %d", line, got, want)
		}
		p.untouched()
	}
}

// guardAllExcept sends aliases that only the application knows, to a gate that
// guards everything but what it knows.
func (w *siege) guardAllExcept(t *testing.T) {
	p := w.person(t)
	p.rawWithheld(t, "all.example",
		"/transfers", "/index.php/transfers", "/index.php0", "/%2574ransfers", "/x%5ctransfers", "/transfers;x=1", "/transfers.json",
		"//evil/public/index.php/transfers", "/static/../transfers", "/static/%2e%2e/transfers", "/static/..%2ftransfers", "/static%2f..%2ftransfers",
		"/static", "/statics/transfers", "/login/transfers", "/login/../transfers", "/transfers?x=/static/a", "/transfers#/static/a", "/transfers/static/",
	)
	// Caddy compares paths that are cleaned, but sends them on as they are: what
	// is excepted only when it is cleaned is refused besides, as
	// docs/security.md says.
	p = w.person(t)
	for _, target := range []string{"/transfers/..", "/transfers/../static/x", "/transfers/%2e%2e/login", "/transfers/..%2flogin", "//transfers/../", "/static/x/../../login"} {
		if status := p.raw(t, "POST "+target+" HTTP/1.1\nHost: all.example\nContent-Length: 1", "x"); status != http.StatusBadRequest {
			t.Errorf("%s: answer is %d", target, status)
		}
	}
	p.untouched()
	p = w.person(t)
	passed(t, p.send(p.request("GET", "/login", "", "Host: all.example")))
	passed(t, p.send(p.request("GET", "/static/a.css", "", "Host: all.example")))
}

// overrides sends an approved request with a header that makes another one of
// it, for applications that read it.
func (w *siege) overrides(t *testing.T) {
	p := w.person(t)
	r := p.request("POST", "/auto/adv51", "_method=POST", formType)
	p.approved(r)
	requests := make(map[string]*http.Request)
	for _, name := range append(methodOverrides, "X-Original-URL", "X-Rewrite-URL") {
		changed := p.mine(r)
		changed.Header[name] = []string{"DELETE"}
		requests[name] = changed
	}
	changed := p.mine(r)
	setBody(changed, "_method=DELETE")
	requests["_method"] = changed
	p.withheldAll(requests)
	// Aliases, as PHP reads them, do not get so far.
	aliased := p.mine(r)
	for _, name := range []string{"X_HTTP_Method_Override", "X.HTTP.Method.Override", "X-HTTP_Method-Override", "X_Original_URL", "X.Rewrite.URL"} {
		aliased.Header[name] = []string{"DELETE"}
	}
	passed(t, p.send(aliased))
	for _, got := range p.arrived() {
		for name := range got.header {
			if strings.ContainsAny(name, "_.") {
				t.Errorf("the application saw %s", name)
			}
		}
	}

	// Nor is it added to what is parked.
	p = w.person(t).keepCookies()
	page := p.browse(p.request("POST", "/auto/adv52", "a=1", formType))
	p.approve()
	if state := p.awaitPage(page); state != "approved" {
		t.Fatalf("state is %s", state)
	}
	continued := page.submit("continue")
	for _, name := range methodOverrides {
		continued.Header[name] = []string{"DELETE"}
	}
	a := p.send(continued)
	for _, got := range p.arrived() {
		for name := range got.header {
			if strings.Contains(strings.ToLower(name), "method") {
				t.Errorf("answer %d: the application saw %s", a.status, name)
			}
		}
	}
}

// otherMethods sends a guarded path with all kinds of methods.
func (w *siege) otherMethods(t *testing.T) {
	p := w.person(t)
	requests := make(map[string]*http.Request)
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "TRACE", "BREW", "post", "M-SEARCH", "QUERY", "PRI"} {
		requests[method] = p.request(method, "/auto/adv53", "")
	}
	p.withheldAll(requests)
}

// failsOpen loads configurations whose secrets or parts are not there. None may
// be put in force, and the one before stays.
func (w *siege) failsOpen(t *testing.T) {
	if err := os.WriteFile(w.file("bad.csv"), []byte("somebody,no-uuid\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := []string{"issuer " + w.issuer, "client_id x", "client_secret x", "directory file " + w.file("users.csv")}
	for _, change := range []string{
		"client_secret {env.STEP_UP_NOT_THERE}", "client_secret {file." + w.file("not-there") + "}", "client_id {env.STEP_UP_NOT_THERE}",
		"issuer http://broker.example", "issuer {env.STEP_UP_NOT_THERE}", "directory file " + w.file("not-there"), "directory file " + w.file("bad.csv"),
		"key {env.STEP_UP_NOT_THERE}", "key short", "store redis {env.STEP_UP_NOT_THERE}",
	} {
		name, _, _ := strings.Cut(change, " ")
		options := []string{change}
		for _, line := range good {
			if !strings.HasPrefix(line, name+" ") {
				options = append(options, line)
			}
		}
		if err := caddy.Load(w.adapt(strings.Join(options, "\n"), ""), true); err == nil {
			t.Errorf("%s: the configuration was put in force", change)
		}
	}
	p := w.person(t)
	p.start(p.request("POST", "/auto/adv55", "x"))
	p.untouched()
}
