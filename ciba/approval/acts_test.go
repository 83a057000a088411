package approval_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// acts are what can happen. The one without a name checks the laws, after each
// of the others.
func (m *model) acts() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"":              m.laws,
		"begin":         m.begin,
		"begin again":   m.begin,
		"race":          m.race,
		"decide":        m.decide,
		"decide soon":   m.decide,
		"use":           m.use,
		"use soon":      m.use,
		"use mutated":   m.useMutated,
		"wait":          m.pass,
		"watch":         m.watch,
		"cancel":        m.cancel,
		"park":          m.park,
		"unpark":        m.unpark,
		"handle":        m.handle,
		"replace":       m.replace,
		"steal polls":   m.steal,
		"forge":         m.forge,
		"broker faults": m.brokerFault,
		"store faults":  m.storeFault,
	}
}

func (m *model) engine(t *rapid.T) *approval.Engine {
	return rapid.SampledFrom(m.engines).Draw(t, "engine")
}

// some picks an approval, one of the newest more likely.
func (m *model) some(t *rapid.T) *seen {
	if len(m.order) == 0 {
		t.Skip("nothing has been started")
	}
	i := rapid.IntRange(0, len(m.order)-1).Draw(t, "approval")
	return m.order[len(m.order)-1-i]
}

// binding draws a binding, often one that was used before.
func (m *model) binding(t *rapid.T) approval.Binding {
	if len(m.spots) > 0 && rapid.IntRange(0, 2).Draw(t, "new binding") > 0 {
		return rapid.SampledFrom(m.spots).Draw(t, "binding")
	}
	b := approval.Binding{
		Session: m.sessions[rapid.IntRange(0, len(m.sessions)-1).Draw(t, "session")],
		User:    rapid.SampledFrom(modelUsers).Draw(t, "user"),
		UUID:    rapid.SampledFrom(modelUUIDs).Draw(t, "UUID"),
		Policy:  rapid.SampledFrom(modelPolicies).Draw(t, "policy"),
		Request: modelRequests[rapid.IntRange(0, len(modelRequests)-1).Draw(t, "request")],
	}
	m.note(b)
	return b
}

// note makes the laws look at a binding from now on.
func (m *model) note(b approval.Binding) {
	for _, known := range m.spots {
		if spotOf(known) == spotOf(b) {
			return
		}
	}
	m.spots = append(m.spots, b)
}

// call is one request that wants an approval.
type call struct {
	engine    *approval.Engine
	binding   approval.Binding
	restart   string
	supersede bool

	got approval.Approval
	err error
}

func (m *model) ask(c *call) (approval.Ask, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.texts++
	text := fmt.Sprintf("Betal %d kr. [K7PX]", m.texts)
	m.asked[text] = spotOf(c.binding)
	return approval.Ask{
		Text: text, Code: "K7PX", Action: "APPROVE", IP: netip.MustParseAddr("192.0.2.7"),
		Remember: remembers, Supersede: c.supersede,
	}, nil
}

func (m *model) newCall(t *rapid.T, b approval.Binding) *call {
	c := &call{engine: m.engine(t), binding: b, supersede: rapid.IntRange(0, 3).Draw(t, "supersede") == 0}
	if c.supersede {
		m.refused[strings.ToLower(b.UUID)] = true // it cancels, which counts
	}
	switch rapid.IntRange(0, 4).Draw(t, "restart") {
	case 0, 1:
		if k := m.last[spotOf(b)]; k != nil {
			c.restart = k.id
		}
	case 2:
		if len(m.order) > 0 {
			c.restart = m.some(t).id // of something else, most often
		}
	}
	return c
}

// begin lets some identical requests come at once.
func (m *model) begin(t *rapid.T) {
	c := m.newCall(t, m.binding(t))
	calls := []*call{c}
	for range rapid.IntRange(0, 3).Draw(t, "joining") {
		joins := *c
		joins.engine = m.engine(t)
		calls = append(calls, &joins)
	}
	m.run(calls)
}

// race lets different requests of one person come at once.
func (m *model) race(t *rapid.T) {
	b := m.binding(t)
	var calls []*call
	for i, request := range modelRequests {
		b.Request = request
		b.Session = m.sessions[i]
		m.note(b)
		calls = append(calls, m.newCall(t, b), m.newCall(t, b))
	}
	m.run(calls)
}

// run makes calls at once and checks what came of them.
func (m *model) run(calls []*call) {
	began, before, asked := time.Now(), m.starts(), len(m.w.broker.Requests())
	may := make(map[spot]bool)
	race := slices.ContainsFunc(calls, func(c *call) bool { return spotOf(c.binding) != spotOf(calls[0].binding) })
	rivals := race && slices.ContainsFunc(calls, func(c *call) bool { return c.supersede })
	fresh := m.calm && m.budget.Burst == 0
	for _, c := range calls {
		s := spotOf(c.binding)
		may[s] = may[s] || m.mayPush(s, c.restart, rivals)
		for _, k := range m.order {
			if k.spot.slot() == s.slot() && k.state.Waiting() && time.Since(k.live) < keepsEnded {
				fresh = false
			}
		}
		if k := m.last[s]; race || m.refused[s.uuid] || k != nil && c.restart != k.id || k != nil && k.state.Live() {
			fresh = false
		}
	}
	var all sync.WaitGroup
	for _, c := range calls {
		all.Go(func() {
			c.got, c.err = c.engine.Begin(m.t.Context(), c.binding, c.restart, func() (approval.Ask, error) { return m.ask(c) })
		})
	}
	all.Wait()
	synctest.Wait()

	allowed := 0
	for s, ok := range may {
		if !ok {
			continue
		}
		allowed++
		if until := m.quiet[s.uuid]; m.calm && began.Before(until) {
			allowed--
		}
	}
	pushed := m.starts() - before
	if pushed > allowed {
		m.fail("%d pushes where %d were allowed (law 4)", pushed, allowed)
	}
	if fresh && pushed != 1 {
		m.fail("%d pushes for a new request, want 1", pushed)
	}
	once := make(map[spot]bool)
	for _, q := range m.w.broker.Requests()[asked:] {
		s := m.asked[q.Text]
		if !may[s] || once[s] {
			m.fail("a push that was not allowed, or twice (law 4)")
		}
		once[s] = true
	}
	m.pushes += pushed
	for _, c := range calls {
		m.did("begin %q, restart %q, supersede %t: %s %s, %v", c.binding.Request, c.restart, c.supersede, c.got.ID, c.got.State, c.err)
	}
	for _, c := range calls {
		m.checkCall(c, may[spotOf(c.binding)], fresh)
	}
}

// checkCall looks at what one request was told.
func (m *model) checkCall(c *call, mayPush, fresh bool) {
	s := spotOf(c.binding)
	conflict, limited := (*approval.ConflictError)(nil), (*approval.LimitError)(nil)
	switch {
	case errors.As(c.err, &conflict):
		if other := conflict.Other; other.Text != "" && m.asked[other.Text].session != s.session {
			m.fail("a request was told the text of another session's")
		}
	case errors.As(c.err, &limited):
		if m.budget.Burst == 0 && !m.refused[s.uuid] {
			m.fail("%v, without a budget or a refusal", c.err)
		}
	case c.err != nil:
		if m.calm {
			m.fail("beginning: %v", c.err)
		}
	case fresh && !c.got.State.Waiting():
		m.fail("a new approval is %s (%s)", c.got.State, c.got.Reason)
	case c.got.Text != "" && m.asked[c.got.Text] != s:
		m.fail("a request was given the approval of another")
	case !mayPush && !m.last[s].forged && c.got.ID != m.last[s].id:
		m.fail("approval %s stands, and a request was given %s", m.last[s].id, c.got.ID)
	}
}

// decide is the person at the phone, or the broker for them.
func (m *model) decide(t *rapid.T) {
	var waiting []cibatest.Request
	for _, q := range m.w.broker.Requests() {
		if q.State == cibatest.StateWaiting {
			waiting = append(waiting, q)
		}
	}
	if len(waiting) == 0 {
		t.Skip("no phone shows anything")
	}
	q := waiting[rapid.IntRange(0, len(waiting)-1).Draw(t, "question")]
	var err error
	decision := rapid.IntRange(0, 5).Draw(t, "decision")
	m.did("decision %d on %s", decision, q.ReferenceID)
	switch decision {
	case 0:
		m.refused[strings.ToLower(q.UUID)] = true
		err = m.w.broker.Deny(q.ID)
	case 1:
		err = m.w.broker.Fail(q.ID, "mitid_flex_app.mitid_error_APP001")
	case 2:
		m.w.broker.Inject(cibatest.Fault{
			Endpoint: cibatest.EndpointToken, AuthReqID: q.ID,
			Token: rapid.SampledFrom([]cibatest.TokenFault{
				cibatest.TokenForeignKey, cibatest.TokenAlgNone, cibatest.TokenWrongAud, cibatest.TokenWrongUUID,
				cibatest.TokenWrongText, cibatest.TokenExpired, cibatest.TokenWrongNonce, cibatest.TokenEarlyAuthTime,
			}).Draw(t, "token"),
		})
		m.spoiled[q.ID] = true
		m.yes[q.ID] = time.Now()
		err = m.w.broker.Approve(q.ID)
	default:
		m.yes[q.ID] = time.Now()
		err = m.w.broker.Approve(q.ID)
	}
	if err != nil {
		m.fail("%v", err)
	}
}

// use tries to let requests pass, with a new reading of the approval or an old
// one.
func (m *model) use(t *rapid.T) {
	k := m.some(t)
	var passed []approval.Grant
	var trouble error
	var mu sync.Mutex
	var all sync.WaitGroup
	for range rapid.IntRange(1, 3).Draw(t, "at once") {
		e := m.engine(t)
		all.Go(func() {
			g, _, err := e.Use(m.t.Context(), k.binding)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				passed = append(passed, g)
			case m.calm && !errors.Is(err, approval.ErrNotApproved) && !errors.Is(err, approval.ErrNotFound):
				trouble = err
			}
		})
	}
	all.Wait()
	if trouble != nil {
		m.fail("%v", trouble)
	}
	m.did("%d pass by %s", len(passed), k.id)
	for _, g := range passed {
		used := m.byID[g.ApprovalID]
		if used == nil || used.spot != k.spot || strings.ToLower(g.UUID) != k.spot.uuid {
			m.fail("a request passed by the approval of another (law 2)")
		}
		m.mustBeGranted(used)
		if used.forged {
			m.fail("a request passed by a forged approval")
		}
		if used.uses++; used.spot.oneTime && used.uses > 1 {
			m.fail("approval %s was used %d times (law 8)", used.id, used.uses)
		}
		q, _ := m.question(used.id)
		good := usableFor
		if !used.spot.oneTime {
			good = remembers
		}
		if age := time.Since(m.collected(q.ID)); m.calm && age > good {
			m.fail("a request passed %s after the answer", age)
		}
	}
}

// useMutated changes one part of a binding: nothing is to be found, and
// nothing to be used.
func (m *model) useMutated(t *rapid.T) {
	k := m.some(t)
	b := k.binding
	switch rapid.IntRange(0, 5).Draw(t, "part") {
	case 0:
		b.Session = m.engines[0].NewSession()
	case 1:
		b.User += "x"
	case 2:
		b.UUID = "00000000" + b.UUID[8:]
	case 3:
		b.Policy += "x"
	case 4:
		b.Request = append(bytes.Clone(b.Request), 0)
	case 5:
		if b.Request == nil {
			b.Request = []byte("GET /")
		} else {
			b.Request = nil
		}
	}
	e := m.engine(t)
	if m.last[spotOf(b)] != nil {
		return
	}
	if found, err := e.Find(m.t.Context(), b); err == nil {
		m.fail("another binding finds %s (law 2)", found.ID)
	}
	if _, _, err := e.Use(m.t.Context(), b); err == nil {
		m.fail("another binding was let pass (law 2)")
	}
}

func (m *model) pass(t *rapid.T) { time.Sleep(rapid.SampledFrom(m.waits).Draw(t, "time")) }

// watch waits as a held request does.
func (m *model) watch(t *rapid.T) {
	k := m.some(t)
	e := m.engine(t)
	a, err := e.Find(m.t.Context(), k.binding)
	if err != nil || a.ID != k.id {
		return
	}
	began, most := time.Now(), rapid.SampledFrom(m.waits).Draw(t, "time")
	a, err = e.Wait(m.t.Context(), a, most)
	m.did("waited for %s: %s, %v", k.id, a.State, err)
	switch {
	case err != nil && m.calm && !errors.Is(err, approval.ErrNotFound):
		m.fail("%v", err)
	case err == nil && m.calm && a.State.Waiting() && time.Since(began) < most:
		m.fail("a wait ended after %s of %s, and the approval is %s", time.Since(began), most, a.State)
	}
}

func (m *model) cancel(t *rapid.T) {
	k := m.some(t)
	e := m.engine(t)
	a, err := e.Find(m.t.Context(), k.binding)
	if err != nil {
		return
	}
	got, err := e.Cancel(m.t.Context(), a)
	m.refused[k.spot.uuid] = true // a cancel may hide a refusal, and counts
	m.did("cancelling %s: %s, %v", a.ID, got.State, err)
	if m.calm && (err != nil || got.State.Live()) {
		m.fail("cancelling a %s approval: %s, %v", a.State, got.State, err)
	}
}

func (m *model) park(t *rapid.T) {
	k := m.some(t)
	e, s := m.engine(t), m.sessionFor(t, k)
	a, err := e.Find(m.t.Context(), k.binding)
	if err != nil || a.ID != k.id {
		return
	}
	body := append([]byte("amount="), rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "body")...)
	p := approval.Parked{Header: map[string][]string{"Content-Type": {"text/plain"}}, Body: body}
	err = e.Park(m.t.Context(), s, a, p)
	k.parked[s] = append(k.parked[s], p)
	k.parkedBy, k.parkedFor = s, err == nil
}

// sessionFor is an approval's own session, or another.
func (m *model) sessionFor(t *rapid.T, k *seen) approval.Session {
	if rapid.IntRange(0, 3).Draw(t, "other session") == 0 {
		return m.sessions[rapid.IntRange(0, len(m.sessions)-1).Draw(t, "session")]
	}
	return k.spot.session
}

// unpark gives back what was parked, to whom has parked it, byte for byte.
func (m *model) unpark(t *rapid.T) {
	k := m.some(t)
	e, s := m.engine(t), m.sessionFor(t, k)
	a, err := e.Find(m.t.Context(), k.binding)
	if err != nil || a.ID != k.id {
		return
	}
	p, err := e.Parked(m.t.Context(), s, a)
	mine := k.parked[s]
	certain := k.parkedFor && k.parkedBy == s && len(mine) > 0
	switch {
	case err == nil && (len(mine) == 0 || k.parkedFor && k.parkedBy != s):
		m.fail("a session read what another had parked (law 3)")
	case err == nil && certain && !cmp.Equal(p, mine[len(mine)-1]):
		m.fail("what was parked came back changed (law 2)")
	case err == nil:
		for _, known := range mine {
			if cmp.Equal(p, known) {
				return
			}
		}
		m.fail("what came back was never parked (law 2)")
	case m.calm && certain && k.uses == 0:
		m.fail("what was parked is lost: %v", err)
	}
}

// handle finds an approval by its handle, for its session and person only.
func (m *model) handle(t *rapid.T) {
	k := m.some(t)
	e := m.engine(t)
	a, err := e.Find(m.t.Context(), k.binding)
	if err != nil || a.ID != k.id {
		return
	}
	s, uuid := m.sessionFor(t, k), rapid.SampledFrom(modelUUIDs).Draw(t, "UUID")
	found, err := e.FindHandle(m.t.Context(), s, uuid, a.Handle())
	own := s == k.spot.session && strings.ToLower(uuid) == k.spot.uuid
	switch {
	case err == nil && (!own || found.ID != k.id):
		m.fail("an approval was shown to a stranger")
	case err != nil && own && m.calm:
		m.fail("%v", err)
	}
}

// replace ends a gateway and starts another.
func (m *model) replace(t *rapid.T) {
	i := rapid.IntRange(0, len(m.engines)-1).Draw(t, "engine")
	m.did("replacing gateway %d", i)
	m.engines[i].Close()
	m.engines[i] = m.w.engine(m.adjust)
}

// steal is a gateway that dies as soon as it has claimed some polls.
func (m *model) steal(t *rapid.T) {
	m.did("stealing polls")
	if _, _, err := m.w.store.Store.Claim(m.t.Context(), 3, 15*time.Second); err != nil {
		m.fail("%v", err)
	}
}

// forge is somebody who can write to the store, and read it, but has no keys.
func (m *model) forge(t *rapid.T) {
	k, from := m.some(t), m.some(t)
	victim, err := m.w.store.Store.Get(m.t.Context(), k.ref.Owner, k.ref.Key)
	if err != nil || victim.ID != k.id || victim.State != approval.Pending {
		return
	}
	loot, err := m.w.store.Store.Get(m.t.Context(), from.ref.Owner, from.ref.Key)
	if err != nil || from == k {
		return
	}
	c := approval.Change{
		Ref: victim.Ref, Slot: victim.Slot, Op: fmt.Sprint("forgery ", m.texts, time.Now()),
		Event: approval.EventApprove, Lasts: time.Hour, Keep: time.Hour,
	}
	switch rapid.IntRange(0, 3).Draw(t, "forgery") {
	case 0:
		c.Outcome = []byte("approved")
	case 1:
		c.Outcome = victim.Plan
	case 2:
		c.Outcome = loot.Outcome
	case 3:
		c.Event, c.Plan = approval.EventSlow, loot.Plan
	}
	m.calm, k.forged = false, true
	m.did("forging %s: %s", k.id, c.Event)
	if _, err := m.w.store.Store.Change(m.t.Context(), c); err != nil {
		m.fail("%v", err)
	}
}

func (m *model) brokerFault(t *rapid.T) {
	m.calm = false
	f := cibatest.Fault{
		Endpoint: rapid.SampledFrom([]cibatest.Endpoint{
			cibatest.EndpointStart, cibatest.EndpointToken, cibatest.EndpointToken, cibatest.EndpointCancel, cibatest.EndpointJWKS,
		}).Draw(t, "endpoint"),
		Answer: rapid.SampledFrom([]cibatest.Answer{
			cibatest.AnswerAsIs, cibatest.AnswerDrop, cibatest.AnswerStatus, cibatest.AnswerHTML, cibatest.AnswerBrokenJSON,
		}).Draw(t, "answer"),
		After: rapid.Bool().Draw(t, "after"),
		Count: rapid.IntRange(1, 3).Draw(t, "count"),
	}
	if f.Answer == cibatest.AnswerAsIs || rapid.IntRange(0, 2).Draw(t, "slow") == 0 {
		f.Latency = rapid.SampledFrom([]time.Duration{time.Second, 7 * time.Second, 13 * time.Second, 40 * time.Second}).Draw(t, "latency")
	}
	m.w.broker.Inject(f)
	m.did("broker: %+v", f)
}

func (m *model) storeFault(t *rapid.T) {
	m.calm = false
	f := storeFault{
		method: rapid.SampledFrom([]string{
			"Create", "Get", "Touch", "Change", "Change", "Spend", "Park", "Parked", "Unpark", "Schedule", "Claim", "Extend", "Drop", "Take", "Block",
		}).Draw(t, "method"),
		calls: rapid.IntRange(1, 4).Draw(t, "calls"),
		after: rapid.Bool().Draw(t, "after"),
	}
	m.w.store.inject(f)
	m.did("store: %+v", f)
}
