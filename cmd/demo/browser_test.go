//go:build browser

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// browserWait is how long anything may take that a browser waits for.
const browserWait = 20 * time.Second

// stage is the demo, with a browser in front of it.
type stage struct {
	t *testing.T
	options
	browser context.Context // a window of its own, without cookies and sign-ins of others

	mu  sync.Mutex
	out bytes.Buffer
}

// newStage starts the demo, whose requests live so long on the phone (0 for
// the simulator's default), and opens a browser that knows nothing yet.
func newStage(t *testing.T, lifetime time.Duration) *stage {
	t.Helper()
	shared := sharedBrowser(t)
	s := &stage{t: t, options: options{
		gate:     freeLoopback(t),
		broker:   freeLoopback(t),
		upstream: freeLoopback(t),
		store:    "memory",
		lifetime: lifetime,
	}}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, s.options, s) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the demo ended: %v", err)
		}
	})
	s.until("the demo is up", func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the demo ended: %v", err)
		default:
		}
		return strings.Contains(s.written(), "The phone:")
	})

	browser, cancel := chromedp.NewContext(shared, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(browser); err != nil {
		t.Fatalf("opening a window: %v", err)
	}
	s.browser = browser
	return s
}

// chromium is the browser of all tests, because starting one takes long.
var chromium struct {
	once sync.Once
	ctx  context.Context
	stop context.CancelFunc
	err  error
}

func TestMain(m *testing.M) {
	m.Run()
	if chromium.stop != nil {
		chromium.stop()
	}
}

// sharedBrowser is the context of the browser. Without one there is nothing to
// test, which is a failure where all tests are to be run.
func sharedBrowser(t *testing.T) context.Context {
	t.Helper()
	path := findChromium()
	switch {
	case path == "" && os.Getenv("CI") == "true":
		t.Fatal("no chromium: install it")
	case path == "":
		t.Skip("no chromium")
	}
	chromium.once.Do(func() {
		opts := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path))
		if os.Getuid() == 0 {
			opts = append(opts, chromedp.NoSandbox)
		}
		ctx, stop := chromedp.NewExecAllocator(context.Background(), opts...)
		ctx, cancel := chromedp.NewContext(ctx)
		chromium.ctx, chromium.stop = ctx, func() {
			cancel() // waits for the browser to end
			stop()
		}
		chromium.err = chromedp.Do(chromium.ctx) // it lives as long as the context of its first run
	})
	if chromium.err != nil {
		t.Fatalf("starting the browser: %v", chromium.err)
	}
	return chromium.ctx
}

// findChromium is where the browser is, "" if there is none.
func findChromium() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// freeLoopback is an address that nobody listens on at the moment.
func freeLoopback(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Write takes what the demo prints.
func (s *stage) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(b)
}

func (s *stage) written() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

// checkBank compares what has reached the bank: each line is one request that
// did something.
func (s *stage) checkBank(want ...string) {
	s.t.Helper()
	var got []string
	for line := range strings.Lines(s.written()) {
		if line, ok := strings.CutPrefix(line, "bank: "); ok {
			got = append(got, strings.TrimSuffix(line, "\n"))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("what reached the bank (-want +got):\n%s", diff)
	}
}

// pushes are all requests that ever reached the phone.
func (s *stage) pushes() []cibatest.Request {
	s.t.Helper()
	answer, err := http.Get("http://" + s.broker + "/sim/requests?all=1")
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	var all []cibatest.Request
	if err := json.NewDecoder(answer.Body).Decode(&all); err != nil {
		s.t.Fatal(err)
	}
	return all
}

// checkPushes compares the states of all requests that ever reached the phone.
func (s *stage) checkPushes(want ...cibatest.State) {
	s.t.Helper()
	var got []cibatest.State
	for _, push := range s.pushes() {
		got = append(got, push.State)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("pushes (-want +got):\n%s", diff)
	}
}

// until waits for the world outside of the browser.
func (s *stage) until(what string, done func() bool) {
	s.t.Helper()
	late := time.After(browserWait)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			s.t.Fatalf("never happened: %s", what)
		}
	}
}

// tab is one tab of the browser. All tabs share cookies and the sign-in.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// newTab opens an empty tab.
func (s *stage) newTab() tab {
	s.t.Helper()
	ctx, cancel := chromedp.NewContext(s.browser)
	s.t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		s.t.Fatalf("opening a tab: %v", err)
	}
	return tab{s.t, ctx}
}

// signIn opens a tab at the bank, signed in as alice.
func (s *stage) signIn() tab {
	s.t.Helper()
	b := s.newTab()
	b.do("sign in", chromedp.Navigate("http://alice:demo@"+s.gate+"/"), heading(bankHeading))
	return b
}

// another opens another tab at the bank, in the same browser.
func (s *stage) another() tab {
	s.t.Helper()
	b := s.newTab()
	b.do("open the bank", chromedp.Navigate("http://"+s.gate+"/"), heading(bankHeading))
	return b
}

// decide presses a button on the phone, "approve" or "deny", for the only
// request there.
func (s *stage) decide(button string) {
	s.t.Helper()
	phone := s.newTab()
	phone.do(button+" on the phone",
		chromedp.Navigate("http://"+s.broker+"/sim/"),
		chromedp.Click(chromedp.CSS("article:only-of-type button."+button)),
		chromedp.WaitVisible(chromedp.CSS(".empty")),
	)
}

// step is something that a person does or sees.
type step = chromedp.Action[chromedp.Void]

// do takes steps in the tab, or fails the test, with what the tab shows.
func (b tab) do(what string, steps ...step) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserWait)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("cannot %s: %v\nthe tab shows %q", what, err, b.heading())
	}
}

// heading is what the tab shows first, "" if nothing.
func (b tab) heading() string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserWait)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector("h1")?.textContent ?? ""`))
	if err != nil {
		return "" // between two pages
	}
	return text
}

// checkAt compares where the tab is.
func (b tab) checkAt(path string) {
	b.t.Helper()
	at, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("location.pathname + location.search"))
	if err != nil {
		b.t.Fatal(err)
	}
	if at != path {
		b.t.Errorf("the tab is at %q, want %q", at, path)
	}
}

// The headings of the pages.
const (
	bankHeading      = "Den Gamle Bank"
	waitingHeading   = "Waiting for your approval"
	deniedHeading    = "The request was refused"
	expiredHeading   = "Time ran out"
	cancelledHeading = "The request was cancelled"
	spentHeading     = "The request has already been sent"
	conflictHeading  = "Another request is waiting"
	limitedHeading   = "Wait before you try again"
	crossSiteHeading = "You came from another site"
)

func heading(text string) step {
	return chromedp.WaitVisible(chromedp.Search(fmt.Sprintf(`//h1[text()=%q]`, text)))
}

func paragraph(text string) step {
	return chromedp.WaitVisible(chromedp.Search(fmt.Sprintf(`//p[contains(., %q)]`, text)))
}

func click(css string) step { return chromedp.Click(chromedp.CSS(css)) }

// follow presses what leads to another page, and waits for that, even if it
// looks the same.
func follow(css string) step {
	return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.RunResponse(ctx, click(css))
		return err
	})
}

// fill types an amount into the bank's form.
func fill(amount string) step {
	return chromedp.SetValue(chromedp.CSS(`[name="amount"]`), amount)
}

// pay sends the bank's form, on whose page the tab is, and waits for an answer.
func (b tab) pay(amount, answer string) {
	b.t.Helper()
	b.do("pay", fill(amount), click(`[action="/transfers"] button`), heading(answer))
}

// follows waits until the page's script follows the approval.
var follows = chromedp.WaitVisible(chromedp.CSS("#auto"))
