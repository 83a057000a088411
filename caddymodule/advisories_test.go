package caddymodule_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// siege is a world under attack.
type siege struct {
	*world
	// trailers are those of the requests that reach an application of its own
	// at /auto/trailer/.
	trailers   chan http.Header
	trailersAt string
}

// advisory is what went wrong in other gateways, and the attack by which it
// would show here. The rows are numbers in the list of advisories that
// docs/security.md answers.
type advisory struct {
	rows   []int
	what   string
	attack func(*siege, *testing.T)
}

// name is the name of the advisory's test.
func (a advisory) name() string {
	var rows []string
	for _, row := range a.rows {
		rows = append(rows, strconv.Itoa(row))
	}
	return strings.Join(rows, ",") + "_" + a.what
}

// advisories are those whose attacks run at one gate, all at once.
var advisories = []advisory{
	// What is approved is what runs.
	{[]int{1}, "contextNotBound", (*siege).contextNotBound},
	{[]int{2}, "textTrimmedButBytesSent", (*siege).textTrimmed},
	{[]int{3}, "longTextCut", (*siege).textCut},
	{[]int{5}, "releaseWithoutCheck", (*siege).releaseWithoutCheck},
	{[]int{6}, "clientSendsInternalFields", (*siege).internalFields},
	{[]int{7}, "nestedContentHidden", (*siege).nestedContent},
	{[]int{8}, "duplicateJSONKeys", (*siege).duplicateKeys},
	{[]int{9}, "parameterSmuggling", (*siege).parameterSmuggling},
	{[]int{10}, "parametersBeyondLimit", (*siege).tooManyParameters},
	{[]int{11}, "bidiControls", (*siege).bidiControls},

	// Headers.
	{[]int{24, 33}, "identityHeadersForged", (*siege).identityForged},
	{[]int{25, 26}, "underscoreAndDotAliases", (*siege).identityAliases},
	{[]int{27, 28}, "forwardedAliases", (*siege).forwardedAliases},
	{[]int{29, 92}, "redirectBuiltFromForwarded", (*siege).redirectFromForwarded},
	{[]int{30, 34, 35}, "magicHeadersSkipGate", (*siege).magicHeaders},
	{[]int{32}, "connectionDropsOurHeaders", (*siege).connectionOptions},
	{[]int{36}, "claimsInjectHeaders", (*siege).claimsInjectHeaders},
	{[]int{38}, "unparsableForwardedFor", (*siege).unparsableForwardedFor},
	{[]int{39}, "userMatchedByPart", (*siege).userMatchedByPart},
	{[]int{40}, "headersKeptOnPreflight", (*siege).headersOnPreflight},

	// Paths, hosts and methods.
	{[]int{41, 44, 45, 46, 47}, "otherSpellingsOfPath", (*siege).pathSpellings},
	{[]int{42, 48}, "hostCase", (*siege).hostCase},
	{[]int{49, 91}, "oddRequestLines", (*siege).oddRequestLines},
	{[]int{50}, "guardAllExcept", (*siege).guardAllExcept},
	{[]int{51, 52}, "pathAndMethodOverridden", (*siege).overrides},
	{[]int{53}, "otherMethods", (*siege).otherMethods},

	// Other sites.
	{[]int{56}, "openRedirect", (*siege).openRedirect},
	{[]int{57}, "crossSiteRequest", (*siege).crossSiteRequest},
	{[]int{58}, "controlsWithoutAuthority", (*siege).controlsWithoutAuthority},
	{[]int{59}, "scriptInPage", (*siege).scriptInPage},
	{[]int{61}, "placeholderExpandedTwice", (*siege).doubleExpansion},
	{[]int{62}, "crossSiteWebSocket", (*siege).webSocket},

	// Sessions, caches, concurrency.
	{[]int{63}, "sessionFixation", (*siege).sessionFixation},
	{[]int{64}, "malformedCookie", (*siege).malformedCookie},
	{[]int{65}, "approvalOutlivesSignIn", (*siege).outlivesSignIn},
	{[]int{66}, "cacheKeyTooShort", (*siege).cacheKey},
	{[]int{67}, "identitiesMixed", (*siege).identitiesMixed},
	{[]int{69}, "connectAndUnreadBody", (*siege).connectAndUnreadBody},
	{[]int{70}, "badFraming", (*siege).badFraming},
	{[]int{71}, "earlyDataReplayed", (*siege).earlyDataReplayed},
	{[]int{72}, "answersCached", (*siege).answersCached},
	{[]int{73}, "upstreamCalledBeforeApproval", (*siege).calledBeforeApproval},
	{[]int{74}, "secretsInErrorPages", (*siege).errorPages},
}

// advisoriesAlone are those whose attacks need a configuration of their own, or
// a change of it.
var advisoriesAlone = []advisory{
	{[]int{4}, "rulesChangedAfterApproval", (*siege).rulesChanged},
	{[]int{55}, "failsOpenWithoutSecret", (*siege).failsOpen},
	{[]int{31, 37}, "untrustedForwarded", (*siege).untrustedForwarded},
	{[]int{75}, "replayAfterRestart", (*siege).replayAfterRestart},
}

// advisoryRoutes are added to the routes that every world has.
const advisoryRoutes = `
	@sensitive {
		host all.example
		not path / /login /static/*
	}
	step_up @sensitive {
		user {http.request.header.Remote-User}
	}
	@dots {
		host all.example
		expression {http.request.uri.path}.contains("..")
	}
	respond @dots 400
	@hosts host %[1]s
	step_up @hosts {
		user {http.request.header.Remote-User}
	}
	step_up /es%%2Fcaped/* {
		user {http.request.header.Remote-User}
	}
	step_up /facts/* {
		user {http.request.header.Remote-User}
		uuid {http.request.header.X-Uuid}
		headers
	}
	step_up /claims/* {
		user {http.request.uri.query.user}
		uuid {http.request.header.X-Uuid}
		headers
	}
	step_up /note/* {
		user {http.request.header.Remote-User}
		text "{http.request.header.X-Note}"
	}
	step_up /query/* {
		user {http.request.header.Remote-User}
		text "Betal {step_up.query.amount} kr."
	}
	step_up /trusting/* {
		user {http.request.header.Remote-User}
		trusted_origins https://portal.example.dk
	}
	step_up /remember2/* {
		user {http.request.header.Remote-User}
		remember 1h
	}
	step_up /rules/* {
		user {http.request.header.Remote-User}
		text "%[2]s"
	}
	request_header /open/* -Step-Up*
	request_header /open/* -Step_Up*
	request_header /open/* -Step.Up*
	reverse_proxy /auto/trailer/* %[3]s
	handle_errors {
		respond "an error page {err.status_code}" {err.status_code}
	}
`

// besiege loads the configuration with the routes for the attacks. The text is
// that of one route.
func (w *siege) besiege(text string) {
	w.Helper()
	var hosts strings.Builder
	for i := range 120 {
		fmt.Fprintf(&hosts, "Host%03d.example ", i)
	}
	w.use(w.adapt(w.appOptions(), fmt.Sprintf(advisoryRoutes, hosts.String(), text, w.trailersAt)))
}

// adapt makes a configuration as [world.load] does, without loading it. Caddy
// drops headers with _ and . in their names. Some that are like the gate's are
// let in, so that the gate's own care is seen.
func (w *siege) adapt(app, directives string) []byte {
	w.Helper()
	_, port, _ := net.SplitHostPort(w.gate)
	const servers = "\tservers {\n"
	letIn := servers + "expected_underscore_headers step_up_extra step-up_extra2 step_up.extra3\nexpected_dot_headers step.up.extra step_up.extra3\n"
	source := fmt.Sprintf(strings.Replace(worldCaddyfile, servers, letIn, 1), w.dir, app, w.upstream.address, port, "", directives)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(source), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		w.Fatalf("adapting: %v", err)
	}
	return config
}

// advisorySecret is the environment variable that attackers would like to read.
const advisorySecret = "STEP_UP_TEST_SECRET"

// TestAdvisories attacks the gate as others were attacked.
func TestAdvisories(t *testing.T) {
	// If it were expanded, it would be somebody's name.
	t.Setenv(advisorySecret, userName(people-1))
	w := &siege{world: prepareWorld(t, cibatest.Config{}), trailers: make(chan http.Header, 1)}
	seesTrailers := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.trailers <- r.Trailer
		_, _ = io.WriteString(rw, upstreamAnswer)
	}))
	t.Cleanup(seesTrailers.Close)
	w.trailersAt = seesTrailers.Listener.Addr().String()
	w.besiege("Betal")

	t.Run("at once", func(t *testing.T) {
		tests := make(map[string]func(*testing.T))
		for _, a := range advisories {
			tests[a.name()] = func(t *testing.T) { a.attack(w, t) }
		}
		together(t, tests)
	})
	for _, a := range advisoriesAlone {
		t.Run(a.name(), func(t *testing.T) { a.attack(w, t) })
	}
}

// raw sends a request as it is written, and returns the status of the answer, 0
// if there is none. Nothing may have passed. The head has no line end, and gets
// who is asking.
func (p *person) raw(t *testing.T, head, body string) int {
	t.Helper()
	return p.rawUntil(t, head, body, false)
}

// rawUntil is raw for requests after which the client may end its side of the
// connection.
func (p *person) rawUntil(t *testing.T, head, body string, end bool) int {
	t.Helper()
	conn, err := net.Dial("tcp", p.gate)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	lines := strings.Split(head, "\n")
	lines = append(lines, "Remote-User: "+p.name, "X-Forwarded-For: "+p.ip, "Prefer: respond-async", "Connection: close")
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	if end {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	content, _ := io.ReadAll(conn)
	if strings.Contains(string(content), upstreamAnswer) {
		t.Errorf("%q passed", lines[0])
	}
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(content))), nil)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// withheldAll sends requests that must neither pass nor be taken for what was
// approved.
func (p *person) withheldAll(requests map[string]*http.Request) {
	p.TB.Helper()
	for name, r := range requests {
		withheld(p.TB, name, p.send(again(r, async)))
	}
	p.untouched()
}
