package main

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// broker is the simulator, with a record of what passes before its door and
// with the phones of all people.
type broker struct {
	*cibatest.Server
	issuer, origin string
	interval       time.Duration
	stops          *stops

	mu       sync.Mutex
	calls    []*call
	approved map[string]time.Time // by auth_req_id: just before the person said yes
}

// call is a start or a poll as the broker saw it.
type call struct {
	gateway string // who called
	start   bool   // otherwise it is a poll
	id      string // auth_req_id
	text    string // of a start: what the phone is to show
	started time.Time
	ended   time.Time // just before the answer left; zero while there is none
	status  int       // 0 where the caller got no answer
	code    string    // the error member of the answer
	tokens  bool      // the answer has tokens
}

// final tells whether the answer was the last that the broker has to give.
func (c call) final() bool {
	switch c.code {
	case "authorization_pending", "slow_down":
		return false
	}
	return c.tokens || c.code != ""
}

func newBroker(t *testing.T, c cibatest.Config, stops *stops) *broker {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	origin := "http://" + server.Listener.Addr().String()
	if c.Interval == 0 {
		c.Interval = interval
	}
	c.Issuer = origin + "/op"
	b := &broker{issuer: c.Issuer, origin: origin, interval: c.Interval, stops: stops, approved: make(map[string]time.Time)}
	var err error
	if b.Server, err = cibatest.New(c); err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = b
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	return b
}

// via is the URL of an endpoint by which one gateway calls it: so it is known
// who calls.
func (b *broker) via(gateway, path string) string { return b.origin + "/via/" + gateway + "/op" + path }

// ServeHTTP implements [http.Handler].
func (b *broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/via/")
	if !ok {
		b.Server.ServeHTTP(w, r)
		return
	}
	gateway, path, _ := strings.Cut(rest, "/")
	r.URL.Path = "/" + path
	c := &call{gateway: gateway, start: strings.HasSuffix(path, "/ciba"), started: time.Now()}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	c.id = form.Get("auth_req_id")
	var hint struct{ ReferenceTextBody string }
	_ = json.Unmarshal([]byte(form.Get("login_hint_token")), &hint)
	c.text = hint.ReferenceTextBody
	b.mu.Lock()
	b.calls = append(b.calls, c)
	b.mu.Unlock()

	answer := httptest.NewRecorder()
	ended := func(answered bool) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if c.ended = time.Now(); answered {
			c.note(answer)
		}
	}
	answered := false
	defer func() {
		if !answered {
			ended(false)
		}
	}()
	what := "poll"
	if c.start {
		what = "start"
	}
	if b.stops.at(r.Context(), gateway, what+" arrived") {
		panic(http.ErrAbortHandler)
	}
	b.Server.ServeHTTP(answer, r)
	if bytes.Contains(answer.Body.Bytes(), []byte(`"id_token"`)) {
		what = "tokens"
	}
	if b.stops.at(r.Context(), gateway, what+" answered") {
		panic(http.ErrAbortHandler)
	}
	answered = true
	ended(true)
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()) // who went away does not want it
}

// note reads an answer that the caller gets.
func (c *call) note(answer *httptest.ResponseRecorder) {
	c.status = answer.Code
	var content struct {
		Error     string
		AuthReqID string `json:"auth_req_id"`
		IDToken   string `json:"id_token"`
	}
	// Nobody reads an answer that is larger than this, or is not JSON.
	if answer.Body.Len() > 1<<20 || json.Unmarshal(answer.Body.Bytes(), &content) != nil {
		return
	}
	c.code, c.tokens = content.Error, content.IDToken != ""
	if c.start {
		c.id = content.AuthReqID
	}
}

// seen are the starts and polls so far, in the order in which they came.
func (b *broker) seen() []call {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]call, len(b.calls))
	for i, c := range b.calls {
		out[i] = *c
	}
	return out
}

// polls are those for one request.
func (b *broker) polls(id string) []call {
	return slices.DeleteFunc(b.seen(), func(c call) bool { return c.start || c.id != id })
}

// approve is a person who says yes.
func (b *broker) approve(t testing.TB, id string) {
	t.Helper()
	b.mu.Lock()
	if _, already := b.approved[id]; !already {
		b.approved[id] = time.Now()
	}
	b.mu.Unlock()
	if err := b.Approve(id); err != nil {
		t.Error(err)
	}
}

// approvals are the moments at which people have said yes.
func (b *broker) approvals() map[string]time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.approved)
}

// approveWaiting says yes to all that is on the phones now, and returns how
// much that is.
func (b *broker) approveWaiting(t testing.TB) int {
	t.Helper()
	n := 0
	for _, q := range b.Requests() {
		if q.State == cibatest.StateWaiting {
			b.approve(t, q.ID)
			n++
		}
	}
	return n
}
