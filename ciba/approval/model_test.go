package approval_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"pgregory.net/rapid"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/approval/memstore"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// The engine's times, as they are documented: the model does not ask it.
const (
	interval    = 5 * time.Second
	keepsEnded  = 10 * time.Minute
	usableFor   = 5 * time.Minute
	remembers   = 20 * time.Minute
	leavesAlone = 30 * time.Second
)

// spot is a binding, in a form that can be compared.
type spot struct {
	session                     approval.Session
	user, uuid, policy, request string
	oneTime                     bool
}

func spotOf(b approval.Binding) spot {
	return spot{b.Session, b.User, strings.ToLower(b.UUID), b.Policy, string(b.Request), b.Request != nil}
}

// slot is what may wait only once.
func (s spot) slot() string { return s.uuid + " " + s.policy }

// seen is what the model knows of one approval.
type seen struct {
	id      string
	ref     approval.Ref
	binding approval.Binding
	spot    spot
	state   approval.State
	reason  approval.Reason
	live    time.Time // when it was last seen to be live, or could not be seen yet
	uses    int
	forged  bool // a writer of the store has had it

	parked    map[approval.Session][]approval.Parked
	parkedBy  approval.Session // who did last
	parkedFor bool             // whether that is certain
}

// model is a bystander who knows what was asked for, what the broker was asked
// and what the person did, and nothing of how the engine works. It tells from
// that whether a law of the house was broken.
type model struct {
	t       *rapid.T
	w       *world
	engines []*approval.Engine
	adjust  func(*approval.Config)
	budget  approval.Rate

	sessions []approval.Session
	asked    map[string]spot // by the text, which is another one each time
	spots    []approval.Binding
	byID     map[string]*seen
	order    []*seen
	last     map[spot]*seen

	calm    bool                 // nothing but the person has caused trouble
	yes     map[string]time.Time // when the person approved, by auth_req_id
	spoiled map[string]bool      // its token was
	refused map[string]bool      // persons who said no, ever
	quiet   map[string]time.Time // persons who must not be asked until then
	pushes  int                  // that acts of will have caused

	mu    sync.Mutex
	leaks []string
	texts int

	waits   []time.Duration
	born    time.Time
	looked  time.Time // when everything was seen last
	history []string
}

func newModel(t *rapid.T, store approval.Store) *model {
	m := &model{
		t: t, calm: true, born: time.Now(), looked: time.Now(),
		asked:   make(map[string]spot),
		byID:    make(map[string]*seen),
		last:    make(map[spot]*seen),
		yes:     make(map[string]time.Time),
		spoiled: make(map[string]bool),
		refused: make(map[string]bool),
		quiet:   make(map[string]time.Time),
	}
	m.w = newWorld(t)
	m.w.store.Store = store
	if rapid.IntRange(0, 3).Draw(t, "budget") == 0 {
		m.budget = approval.Rate{Burst: 2, Per: time.Minute}
	}
	m.adjust = func(c *approval.Config) {
		if m.budget.Burst > 0 {
			c.UserRate = m.budget
		}
	}
	m.engines = []*approval.Engine{m.w.engine(m.adjust), m.w.engine(m.adjust)}
	for range 3 {
		m.sessions = append(m.sessions, m.engines[0].NewSession())
	}
	m.w.store.written = m.written
	return m
}

// did writes down what happened. What comes at once does not come in the same
// order a second time, so a failure cannot always be played again.
func (m *model) did(format string, args ...any) {
	m.history = append(m.history, fmt.Sprintf("%8s  ", time.Since(m.born))+fmt.Sprintf(format, args...))
}

// fail reports that a law is broken, and how it came to that.
func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(m.history, "\n"))
}

var (
	modelUsers    = []string{"alice.andersen", "bob.berthelsen"}
	modelUUIDs    = []string{testUUID, otherUUID, strings.ToUpper(testUUID)}
	modelPolicies = []string{"transfers v1", "salaries v1"}
	modelRequests = [][]byte{nil, []byte("POST amount=100"), []byte("POST amount=900")}
)

// secrets are what neither store nor log may hold.
func (m *model) secrets() []string {
	all := []string{"Betal", "betal", "K7PX", "amount=", strings.ToUpper(otherUUID)}
	all = append(append(append(all, modelUsers...), modelUUIDs...), modelPolicies...)
	for _, s := range m.sessions {
		token := m.engines[0].SessionToken(s)
		raw, _ := base64.RawURLEncoding.DecodeString(token)
		all = append(all, token[:40], string(raw[:32]))
	}
	for _, q := range m.w.broker.Requests() {
		all = append(all, q.ID)
	}
	return all
}

// written looks at what goes into the store (law 3).
func (m *model) written(b []byte) {
	for _, s := range m.secrets() {
		if bytes.Contains(b, []byte(s)) {
			m.mu.Lock()
			m.leaks = append(m.leaks, s)
			m.mu.Unlock()
		}
	}
}

// starts counts how often the broker was asked to ask somebody, whatever came
// of it.
func (m *model) starts() (n int) {
	for _, c := range m.w.broker.Log() {
		if c.Endpoint == cibatest.EndpointStart {
			n++
		}
	}
	return n
}

// question is the broker's request for an approval.
func (m *model) question(id string) (q cibatest.Request, ok bool) {
	for _, r := range m.w.broker.Requests() {
		if r.ReferenceID == id {
			if ok {
				m.fail("approval %s was asked for twice", id)
			}
			q, ok = r, true
		}
	}
	return q, ok
}

// collected is when the broker gave the tokens away.
func (m *model) collected(authReqID string) time.Time {
	for _, c := range m.w.broker.Log() {
		if c.Endpoint == cibatest.EndpointToken && c.AuthReqID == authReqID && c.Status == 200 {
			return c.Ended
		}
	}
	return time.Time{}
}

// mustBeGranted is law 1: the person who is bound has approved exactly this,
// and the broker has said so in a token that nothing is wrong with.
func (m *model) mustBeGranted(k *seen) {
	m.t.Helper()
	q, ok := m.question(k.id)
	if !ok {
		m.fail("approval %s counts as approved, and nobody was asked", k.id)
	}
	_, approved := m.yes[q.ID]
	if !approved || m.spoiled[q.ID] || q.State != cibatest.StateCollected {
		m.fail("approval %s counts as approved: at the broker it is %s, the person said yes: %t, the token was spoiled: %t",
			k.id, q.State, approved, m.spoiled[q.ID])
	}
	if strings.ToLower(q.UUID) != k.spot.uuid || m.asked[q.Text] != k.spot {
		m.fail("approval %s was granted for something else", k.id)
	}
}

// rank orders the states: none leads to one with the same rank or a lower one.
var rank = map[approval.State]int{approval.Starting: 0, approval.Pending: 1, approval.Approved: 2}

// see takes note of a reading, and checks it against earlier ones.
func (m *model) see(b approval.Binding, a approval.Approval) *seen {
	m.t.Helper()
	k := m.byID[a.ID]
	if k == nil {
		k = &seen{id: a.ID, ref: a.Ref, binding: b, spot: spotOf(b), state: a.State, reason: a.Reason, live: m.looked,
			parked: make(map[approval.Session][]approval.Parked), parkedFor: true}
		m.byID[a.ID], m.last[k.spot] = k, k
		m.order = append(m.order, k)
		m.did("%s is %s (%s): %s, %s, %q", k.id, k.state, k.reason, k.spot.user, k.spot.slot(), k.spot.request)
	}
	if k.spot != spotOf(b) {
		m.fail("approval %s was found under another binding", a.ID)
	}
	if k.forged {
		return k
	}
	before, beforeReason := k.state, k.reason
	switch {
	case a.State == before && a.Reason == beforeReason:
	case !before.Live():
		m.fail("approval %s was %s (%s) and is %s (%s)", a.ID, before, beforeReason, a.State, a.Reason)
	case a.State.Live() && rank[a.State] <= rank[before]:
		m.fail("approval %s was %s and is %s", a.ID, before, a.State)
	case a.State == approval.Spent && k.uses == 0 && m.calm:
		m.fail("approval %s is spent, and nobody used it", a.ID)
	case a.State == approval.Denied && m.calm:
		// The pause began at the earliest when it was last seen waiting.
		m.quiet[k.spot.uuid] = k.live.Add(leavesAlone)
	}
	if k.state, k.reason = a.State, a.Reason; a.State != before {
		m.did("%s is %s (%s)", a.ID, a.State, a.Reason)
	}
	if a.State.Live() {
		k.live = time.Now()
	}
	if a.State == approval.Approved {
		m.mustBeGranted(k)
	}
	return k
}

// mayPush is law 4: whether a request may ring a phone. rivals says that another
// may call off what waits in its slot before it.
func (m *model) mayPush(s spot, restart string, rivals bool) bool {
	k := m.last[s]
	switch {
	case k == nil, k.forged:
		return true
	case restart == k.id && (rivals || !k.state.Live()):
		return true
	}
	// Only what is forgotten may be started anew without being asked to.
	kept := keepsEnded
	switch k.reason {
	case approval.ReasonUnavailable, approval.ReasonMisconfigured, approval.ReasonUnknownUser:
		kept = approval.RetryTime
	case approval.ReasonLimited, approval.ReasonUnasked:
		kept = time.Second
	}
	q, asked := m.question(k.id)
	if !asked && k.state == approval.Starting {
		kept = time.Second // it is taken back when the store lets it
	}
	if asked && !s.oneTime {
		if yes, ok := m.yes[q.ID]; ok && time.Since(yes) >= remembers {
			return true
		}
	}
	return time.Since(k.live) >= kept
}

// laws checks everything that can be seen.
func (m *model) laws(*rapid.T) {
	synctest.Wait()
	m.w.store.whileWell(m.seeAll)
	m.looked = time.Now()
	if n := m.starts(); n != m.pushes {
		m.fail("the broker was asked %d times for %d acts of will (law 4)", n, m.pushes)
	}
	m.checkQuestions()
	m.checkPolls()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.leaks) > 0 {
		m.fail("the store was given %q in the clear (law 3)", m.leaks)
	}
}

// seeAll reads every approval there is.
func (m *model) seeAll() {
	waiting := make(map[string]string)
	for _, b := range m.spots {
		a, err := m.engines[0].Find(m.t.Context(), b)
		if errors.Is(err, approval.ErrNotFound) {
			continue
		}
		if err != nil {
			m.fail("%v", err)
		}
		k := m.see(b, a)
		if !a.State.Waiting() || k.forged {
			continue
		}
		if other := waiting[k.spot.slot()]; other != "" {
			m.fail("approvals %s and %s wait for one person under one policy", other, a.ID)
		}
		waiting[k.spot.slot()] = a.ID
		q, asked := m.question(a.ID)
		if answered := m.answered(q); m.calm && asked && !answered.IsZero() && time.Since(answered) > 30*time.Second {
			m.fail("approval %s is %s, %s after the broker's answer", a.ID, a.State, time.Since(answered))
		}
	}
}

// answered is when the broker had an answer to give, or zero.
func (m *model) answered(q cibatest.Request) time.Time {
	switch q.State {
	case cibatest.StateApproved, cibatest.StateCollected:
		return m.yes[q.ID]
	case cibatest.StateExpired:
		return q.ExpiresAt
	default:
		return time.Time{}
	}
}

// checkQuestions looks at what the persons were asked.
func (m *model) checkQuestions() {
	ids, texts, waiting := make(map[string]bool), make(map[string]bool), make(map[string]bool)
	rung := make(map[string][]time.Time)
	for _, q := range m.w.broker.Requests() {
		s, ok := m.asked[q.Text]
		if !ok || ids[q.ReferenceID] || texts[q.Text] || strings.ToLower(q.UUID) != s.uuid {
			m.fail("the broker was asked for approval %s, which nobody wanted, or not again, or of somebody else", q.ReferenceID)
		}
		ids[q.ReferenceID], texts[q.Text] = true, true
		rung[s.uuid] = append(rung[s.uuid], q.CreatedAt)
		if q.State == cibatest.StateWaiting && m.calm {
			if waiting[s.slot()] {
				m.fail("a phone shows two requests for one policy")
			}
			waiting[s.slot()] = true
		}
	}
	if m.budget.Burst == 0 {
		return
	}
	for _, times := range rung {
		for i := range times {
			for j := i; j < len(times); j++ {
				// The budget is drawn on before the start is sent, and a slow
				// broker rings the first phone up to slowest later.
				const slowest = 20 * time.Second
				if most := m.budget.Burst + int((times[j].Sub(times[i])+slowest)/m.budget.Per); j-i+1 > most {
					m.fail("%d pushes in %s, want at most %d", j-i+1, times[j].Sub(times[i]), most)
				}
			}
		}
	}
}

// checkPolls is law 7, by the broker's own log.
func (m *model) checkPolls() {
	last := make(map[string]cibatest.Call)
	for _, c := range m.w.broker.Log() {
		if c.Endpoint != cibatest.EndpointToken {
			continue
		}
		if p, ok := last[c.AuthReqID]; ok {
			switch {
			case p.Ended.IsZero() || c.Started.Before(p.Ended):
				m.fail("two polls for one approval overlap")
			case c.Started.Sub(p.Started) < interval:
				m.fail("a poll %s after the last", c.Started.Sub(p.Started))
			case m.calm && c.Started.Sub(p.Ended) < interval:
				m.fail("a poll %s after the answer to the last", c.Started.Sub(p.Ended))
			}
		}
		last[c.AuthReqID] = c
	}
}

// atTheEnd looks at what the gateways have logged (law 9).
func (m *model) atTheEnd() {
	logged := m.w.log.String()
	for _, s := range m.secrets() {
		if s != "K7PX" && strings.Contains(logged, s) {
			m.fail("the log holds %q", s)
		}
	}
}

// checkModel drives a random sequence of acts on a store that open makes.
func checkModel(open func(t *rapid.T) approval.Store, waits []time.Duration) func(*rapid.T) {
	return func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			m := newModel(t, open(t))
			m.waits = waits
			t.Repeat(m.acts())
			m.atTheEnd()
		})
	}
}

func openMemory(*rapid.T) approval.Store { return memstore.New(memstore.Config{}) }

// openMiniredis is a Redis that lives by the bubble's clock.
func openMiniredis(t *rapid.T) approval.Store {
	server := miniredis.NewMiniRedis()
	server.ClockTTL(true)
	t.Cleanup(server.Close)
	client := redis.NewClient(&redis.Options{
		Dialer:                   func(context.Context, string, string) (net.Conn, error) { return server.Dial() },
		Addr:                     "192.0.2.1:6379",
		ContextTimeoutEnabled:    true,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { _ = client.Close() })
	store, err := redisstore.New(redisstore.Config{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

var (
	// longWaits let everything lapse and be forgotten.
	longWaits = []time.Duration{time.Second, 6 * time.Second, 20 * time.Second, 45 * time.Second, 3 * time.Minute, 11 * time.Minute, 21 * time.Minute}
	// shortWaits are for a store that takes real time for every poll.
	shortWaits = []time.Duration{time.Second, 6 * time.Second, 12 * time.Second, 35 * time.Second}
)

func TestEngine_keepsTheLawsWhateverHappens(t *testing.T) {
	rapid.Check(t, checkModel(openMemory, longWaits))
}

// On Redis a run takes many times as long, so it is a few runs, the same each
// time but for what comes at once.
func TestEngine_keepsTheLawsWhateverHappensOnRedis(t *testing.T) {
	check := rapid.MakeFuzz(checkModel(openMiniredis, shortWaits))
	runs := 10
	if testing.Short() {
		runs = 3
	}
	for seed := range runs {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { check(t, draws(seed)) })
	}
}

// draws is randomness for one run that rapid does not come to the end of.
func draws(seed int) []byte {
	out := make([]byte, 1<<16)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(out) // never fails
	return out
}

func FuzzEngine(f *testing.F) {
	for seed := range 8 {
		f.Add(draws(seed))
	}
	f.Fuzz(rapid.MakeFuzz(checkModel(openMemory, longWaits)))
}
