//go:build browser

package page

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
)

// gate is a gate and an application in one, for one request of one person.
type gate struct {
	t      *testing.T
	method string

	mu       sync.Mutex
	state    string        // what the page is told
	change   chan struct{} // closed when state changes
	answer   http.HandlerFunc
	requests []string // everything that is not a question for the state
	polls    int
}

func newGate(t *testing.T, method string) (*gate, string) {
	g := &gate{t: t, method: method, state: "pending", change: make(chan struct{})}
	srv := httptest.NewServer(g)
	t.Cleanup(srv.Close)
	return g, srv.URL
}

// settle tells the page a new state.
func (g *gate) settle(state string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state = state
	close(g.change)
	g.change = make(chan struct{})
}

// answerWith replaces the answers to questions for the state; nil ends that.
func (g *gate) answerWith(f http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = f
	close(g.change)
	g.change = make(chan struct{})
}

func (g *gate) log() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.requests)
}

func (g *gate) asked() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.polls
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Step-Up-Status") != "" {
		g.status(w, r)
		return
	}
	switch r.URL.Path {
	case "/favicon.ico":
		http.NotFound(w, r)
		return
	case "/form": // what the application shows first
		fmt.Fprint(w, `<!DOCTYPE html><form method="post" action="/pay?to=1"><button>Pay</button></form>`)
		return
	}

	entry := r.Method + " " + r.URL.RequestURI()
	if r.Method == http.MethodPost {
		if err := r.ParseForm(); err != nil {
			g.t.Errorf("parsing form: %v", err)
		}
		if o := r.Header.Get("Origin"); o != "http://"+r.Host {
			g.t.Errorf("origin %q, want the page's own", o)
		}
		if len(r.PostForm) > 0 {
			entry += " " + r.PostForm.Get("step_up") + " " + r.PostForm.Get("step_up_approval")
		}
	}
	g.mu.Lock()
	g.requests = append(g.requests, entry)
	state := g.state
	g.mu.Unlock()

	if state == "approved" {
		fmt.Fprint(w, `<!DOCTYPE html><title>done</title><p>done`)
		return
	}
	body, err := Render(View{
		State:     State(state),
		Method:    r.Method,
		Language:  English,
		Text:      "Pay 125.00",
		ExpiresAt: time.Now().Add(5 * time.Minute),
		Handle:    "abc.def",
		CancelURL: "?cancel",
	})
	if err != nil {
		g.t.Error(err)
	}
	SetHeaders(w.Header())
	w.Header().Set("Step-Up-State", state)
	w.WriteHeader(http.StatusUnauthorized)
	w.Write(body)
}

// status answers a question for the state as the gate does: when it changes.
func (g *gate) status(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.polls++
	first, change := g.polls == 1, g.change
	answer := g.answer
	g.mu.Unlock()

	want := map[string]string{
		"method": g.method, "status": "25", "handle": "abc.def", "accept": "application/json", "length": "0", "site": "same-origin",
	}
	got := map[string]string{
		"method": r.Method, "status": r.Header.Get("Step-Up-Status"), "handle": r.Header.Get("Step-Up-Approval"),
		"accept": r.Header.Get("Accept"), "length": fmt.Sprint(r.ContentLength), "site": r.Header.Get("Sec-Fetch-Site"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		g.t.Errorf("question (-want +got):\n%s", diff)
	}
	if answer == nil && first {
		select {
		case <-change:
		case <-r.Context().Done():
			return
		}
		g.mu.Lock()
		answer = g.answer
		g.mu.Unlock()
	}
	if answer != nil {
		answer(w, r)
		return
	}
	g.mu.Lock()
	state := g.state
	g.mu.Unlock()
	w.Header().Set("Step-Up-State", state)
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"state":%q}`, state)
}

// step is something that the browser does.
type step = chromedp.Action[chromedp.Void]

// browse starts a browser and opens the page that waits.
func browse(t *testing.T, g *gate, url string) context.Context {
	t.Helper()
	opts := slices.Clone(chromedp.DefaultExecAllocatorOptions[:])
	if os.Getuid() == 0 {
		opts = append(opts, chromedp.NoSandbox)
	}
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	run(t, ctx) // the browser lives as long as the context of its first run
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)

	actions := []step{chromedp.Navigate(url + "/pay?to=1")}
	if g.method == http.MethodPost {
		actions = []step{chromedp.Navigate(url + "/form"), chromedp.Click(chromedp.CSS("button"))}
	}
	run(t, ctx, append(actions, chromedp.WaitVisible(chromedp.CSS("#auto")))...)
	until(t, ctx, "the page asks for the state", func() bool { return g.asked() > 0 })
	return ctx
}

func run(t *testing.T, ctx context.Context, steps ...step) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// value runs a script in the page and returns what it gives.
func value[T any](t *testing.T, ctx context.Context, script string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// do is a step that runs a script in the page.
func do(script string) step { return chromedp.Evaluate[chromedp.Void](script) }

// until waits for the world outside of the browser.
func until(t *testing.T, ctx context.Context, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never happened: %s", what)
		}
	}
}

func heading(s string) step {
	return chromedp.WaitVisible(chromedp.Search(fmt.Sprintf(`//h1[text()=%q]`, s)))
}

func says(s string) step {
	return chromedp.WaitVisible(chromedp.Search(fmt.Sprintf(`//p[@role="status"][text()=%q]`, s)))
}

func checkLog(t *testing.T, g *gate, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, g.log()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestBrowser_goesOnOnceApproved(t *testing.T) {
	for method, want := range map[string][]string{
		"GET":  {"GET /pay?to=1", "GET /pay?to=1"},
		"POST": {"POST /pay?to=1", "POST /pay?to=1 continue abc.def"},
	} {
		t.Run(method, func(t *testing.T) {
			g, url := newGate(t, method)
			ctx := browse(t, g, url)
			if focus := value[string](t, ctx, "document.activeElement.tagName"); focus != "BODY" {
				t.Errorf("<%s> has the focus", focus)
			}
			history := value[int](t, ctx, "history.length")
			g.settle("approved")
			run(t, ctx, chromedp.WaitVisible(chromedp.Search(`//p[text()="done"]`)))
			// A form always makes an entry; a reload must not.
			if n := value[int](t, ctx, "history.length"); method == "GET" && n != history {
				t.Errorf("%d history entries, want %d", n, history)
			}
			checkLog(t, g, want...)
		})
	}
}

// Nothing is asked again for the person: the new page is only shown.
func TestBrowser_showsTheEndAndStops(t *testing.T) {
	for _, method := range methods {
		t.Run(method, func(t *testing.T) {
			g, url := newGate(t, method)
			ctx := browse(t, g, url)
			g.settle("denied")
			run(t, ctx, heading(english.Denied.Heading))
			if n := g.asked(); n != 1 {
				t.Errorf("%d questions, want 1", n)
			}
			want := "GET /pay?to=1"
			if method == "POST" {
				want = "POST /pay?to=1 continue abc.def"
			}
			checkLog(t, g, method+" /pay?to=1", want)
		})
	}
}

// An application that answers in the gate's place, or a redirect to a sign-in
// page, says nothing about the approval, whatever its body claims.
func TestBrowser_believesOnlyTheGate(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"application": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"state":"approved"}`) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Step-Up-State", "approved")
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		},
		"unknown state": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Step-Up-State", "approved")
			fmt.Fprint(w, `{"state":"toString"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, url := newGate(t, "POST")
			ctx := browse(t, g, url)
			g.answerWith(answer)
			run(t, ctx, says(english.StatusStopped), chromedp.WaitVisible(chromedp.CSS("#continue button")))
			checkLog(t, g, "POST /pay?to=1")
		})
	}
}

func TestBrowser_outlivesLostConnections(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"connection closed": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"store away": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Step-Up-State", "unavailable")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"type":"about:blank#unavailable","status":503}`)
		},
		"no JSON": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Step-Up-State", "approved")
			fmt.Fprint(w, `approved`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, url := newGate(t, "GET")
			ctx := browse(t, g, url)
			g.answerWith(answer)
			run(t, ctx, says(english.StatusLost))
			g.answerWith(nil)
			run(t, ctx, says(english.StatusPending))
			g.settle("approved")
			run(t, ctx, chromedp.WaitVisible(chromedp.Search(`//p[text()="done"]`)))
			checkLog(t, g, "GET /pay?to=1", "GET /pay?to=1")
		})
	}
}

// A person comes back from the MitID app on the same phone: the question that
// is under way may hang on a dead connection.
func TestBrowser_asksAgainWhenItIsSeenAgain(t *testing.T) {
	g, url := newGate(t, "GET")
	ctx := browse(t, g, url)
	run(t, ctx, do(`document.dispatchEvent(new Event("visibilitychange"))`))
	// Well before the page gives up on the first question by itself.
	soon, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	until(t, soon, "a second question", func() bool { return g.asked() > 1 })
	if status := value[string](t, ctx, `document.querySelector("[role=status]").textContent`); status != english.StatusPending {
		t.Errorf("status %q", status)
	}
}

// A second press while the first is under way would send the request again and
// throw the first answer away.
func TestBrowser_sendsOnce(t *testing.T) {
	g, url := newGate(t, "POST")
	ctx := browse(t, g, url)
	run(t, ctx, do(`for (let i = 0; i < 3; i++) document.querySelector("#cancel button").click();
		document.querySelector("#continue button").click()`))
	until(t, ctx, "the form arrives", func() bool { return len(g.log()) > 1 })
	run(t, ctx, heading(english.Pending.Heading), chromedp.WaitVisible(chromedp.CSS("#auto")))
	checkLog(t, g, "POST /pay?to=1", "POST /pay?to=1 cancel abc.def")
}

// "Cancel" was pressed; the approval that arrives at the same moment must not
// send the request on.
func TestBrowser_doesNotGoOnAfterCancel(t *testing.T) {
	g, url := newGate(t, "POST")
	ctx := browse(t, g, url)
	run(t, ctx, do(`document.getElementById("cancel").addEventListener("submit", (e) => {
		e.preventDefault(); // the answer to the form takes its time
		document.body.append("cancelling");
	}); document.querySelector("#cancel button").click()`))
	g.answerWith(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Step-Up-State", "approved")
		fmt.Fprint(w, `{"state":"approved"}`)
	})
	// Long enough for the answer and for what it must not cause.
	value[bool](t, ctx, `new Promise((done) => setTimeout(done, 500, true))`)
	run(t, ctx, says(english.StatusPending))
	checkLog(t, g, "POST /pay?to=1")
}

// WCAG 2.1 success criteria 1.4.10 (reflow at 320 pixels) and 2.5.5 (targets of
// 44 pixels).
func TestBrowser_fitsANarrowScreen(t *testing.T) {
	g, url := newGate(t, "POST")
	ctx := browse(t, g, url)
	run(t, ctx,
		chromedp.EmulateViewport(320, 640),
		do(`document.querySelector("blockquote").textContent = "x".repeat(130)`),
	)
	if width := value[int](t, ctx, `document.documentElement.scrollWidth`); width > 320 {
		t.Errorf("%d pixels wide, want 320", width)
	}
	if small := value[[]string](t, ctx, `[...document.querySelectorAll("a, button")].filter((e) => {
		const box = e.getBoundingClientRect();
		return box.height < 44 || box.width < 44;
	}).map((e) => e.textContent)`); len(small) > 0 {
		t.Errorf("too small to hit: %q", small)
	}
}
