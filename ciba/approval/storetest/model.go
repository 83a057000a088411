package storetest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

var modelTests = []test{
	{"random calls do what a simple model of the store does", testModel},
}

// model says what a store must hold. Its moments are durations since the start
// of a run.
//
// All ends lie on half ticks and all that passes is whole ticks, so that
// nothing ends at the very moment at which it is looked at. Where real time
// passes, the model lets nothing end at all.
type model struct {
	f       *fixture
	now     time.Duration
	refs    []approval.Ref // what calls choose from: two IDs under each of some keys
	records map[approval.Key]*modelRecord
	queue   map[approval.Ref]*modelPoll
	leases  []approval.Lease // all that were given out
	last    approval.Change
	turn    int // of compare, which looks at one key at a time
}

type modelRecord struct {
	approval.Record // Left and Present are unused
	ends, gone      time.Duration
	present         time.Duration
	op              string
	parked          []byte
}

type modelPoll struct {
	due   time.Duration
	token int64 // 0 for none
}

func testModel(f *fixture) {
	rapid.Check(f.T, func(t *rapid.T) {
		m := &model{
			f:       f,
			records: make(map[approval.Key]*modelRecord),
			queue:   make(map[approval.Ref]*modelPoll),
		}
		var owner approval.Tag
		rand.Read(owner[:]) // apart from other runs on the same store
		for key := range byte(3) {
			for range 2 {
				m.refs = append(m.refs, approval.Ref{Owner: owner, Key: approval.Key{key}, ID: rand.Text()})
			}
		}
		defer m.empty()
		actions := map[string]func(*rapid.T){
			"":         m.compare,
			"create":   m.create,
			"touch":    m.touch,
			"change":   m.change,
			"again":    m.again,
			"park":     m.park,
			"parked":   m.parked,
			"unpark":   m.unpark,
			"schedule": m.schedule,
			"claim":    m.claim,
			"extend":   m.extend,
			"drop":     m.drop,
		}
		if f.Exact {
			actions["advance"] = m.advance
		}
		t.Repeat(actions)
	})
}

// empty leaves the queue to the next run as this one found it.
func (m *model) empty() {
	for ref := range m.queue {
		m.f.schedule(ref, 0)
	}
	leases, _ := m.f.claimFor(len(m.queue), m.f.long())
	for _, l := range leases {
		m.f.drop(l)
	}
}

// find is the record of a reference, or nil.
func (m *model) find(ref approval.Ref) *modelRecord {
	r := m.at(ref.Key)
	if r == nil || r.ID != ref.ID {
		return nil
	}
	return r
}

// at is the record under a key, or nil.
func (m *model) at(key approval.Key) *modelRecord {
	r := m.records[key]
	if r == nil || r.gone <= m.now {
		return nil
	}
	return r
}

// view is how a record must read.
func (m *model) view(r *modelRecord) approval.Record {
	seen := r.Record
	if seen.State.Live() && r.ends <= m.now {
		seen.State, seen.Reason = seen.State.Lapsed()
	}
	return seen
}

// check compares a record with how it must read.
func (m *model) check(t *rapid.T, got approval.Record, r *modelRecord) {
	t.Helper()
	want := m.view(r)
	if live, left := want.State.Live(), r.ends-m.now; live != (got.Left > 0) ||
		(live && (got.Left > left || (m.f.Exact && got.Left != left))) {
		t.Fatalf("%v left in state %s; want %v", got.Left, want.State, left)
	}
	if present := r.present - m.now; want.State.Waiting() && ((present > 0) != (got.Present > 0) ||
		(present > 0 && (got.Present > present || (m.f.Exact && got.Present != present)))) {
		t.Fatalf("present for %v; want %v", got.Present, present)
	}
	got.Left, got.Present = 0, 0
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("record (-want +got):\n%s", diff)
	}
}

// half draws a time that ends on a half tick.
func (m *model) half(t *rapid.T, label string) time.Duration {
	if !m.f.Exact {
		return m.f.long()
	}
	return time.Duration(rapid.IntRange(0, 6).Draw(t, label))*m.f.Tick + m.f.Tick/2
}

// whole draws a time of whole ticks.
func (m *model) whole(t *rapid.T, label string) time.Duration {
	if !m.f.Exact {
		return m.f.long()
	}
	return time.Duration(rapid.IntRange(0, 6).Draw(t, label)) * m.f.Tick
}

func (m *model) ref(t *rapid.T) approval.Ref { return rapid.SampledFrom(m.refs).Draw(t, "ref") }

// some draws bytes, or none.
func some(t *rapid.T, label string) []byte {
	return rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, label)
}

func (m *model) advance(t *rapid.T) {
	d := time.Duration(rapid.IntRange(1, 4).Draw(t, "ticks")) * m.f.Tick
	m.f.Advance(d)
	m.now += d
}

func (m *model) compare(t *rapid.T) {
	ref := m.refs[m.turn%len(m.refs)]
	m.turn++
	got, err := m.f.Store.Get(m.f.Context(), ref.Owner, ref.Key)
	r := m.at(ref.Key)
	if r == nil {
		if !errors.Is(err, approval.ErrNotFound) {
			t.Fatalf("Get: state %q, error %v; want ErrNotFound", got.State, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	m.check(t, got, r)
}

func (m *model) create(t *rapid.T) {
	n := approval.New{
		Ref:      m.ref(t),
		Session:  approval.Tag{rapid.Byte().Draw(t, "session")},
		Plan:     some(t, "plan"),
		Presence: m.presence(t),
		Lasts:    m.half(t, "lasts"),
		Keep:     m.whole(t, "keep"),
		Replace:  rapid.SampledFrom([]string{"", m.refs[0].ID, m.refs[1].ID, m.refs[2].ID, m.refs[3].ID}).Draw(t, "replace"),
	}
	n.Slot = slotOf(n.Ref)
	got, created, err := m.f.Store.Create(m.f.Context(), n)

	r := m.at(n.Key)
	want := false
	switch {
	case r != nil && r.ID == n.ID:
		want = true
	case r != nil && (m.view(r).State.Live() || r.ID != n.Replace):
	case m.holder(n.Slot) != nil:
		if created || !errors.Is(err, approval.ErrBusy) {
			t.Fatalf("Create: created %t, error %v; want ErrBusy", created, err)
		}
		m.check(t, got, m.holder(n.Slot))
		return
	default:
		want = true
		r = &modelRecord{
			Record: approval.Record{
				Ref: n.Ref, State: approval.Starting, Session: n.Session, Slot: n.Slot, Plan: n.Plan,
			},
			ends:    m.now + n.Lasts,
			gone:    m.now + n.Lasts + n.Keep,
			present: m.now + n.Presence,
		}
		m.records[n.Key] = r
	}
	if err != nil || created != want {
		t.Fatalf("Create: created %t, error %v; want %t", created, err, want)
	}
	m.check(t, got, r)
}

// slotOf shares a slot between all keys but one.
func slotOf(ref approval.Ref) approval.Tag { return approval.Tag{ref.Key[0] / 2} }

// holder is the record that holds a slot, or nil.
func (m *model) holder(slot approval.Tag) *modelRecord {
	for key := range m.records {
		if r := m.at(key); r != nil && r.Slot == slot && m.view(r).State.Waiting() {
			return r
		}
	}
	return nil
}

// presence draws for how long somebody waits, perhaps not at all.
func (m *model) presence(t *rapid.T) time.Duration {
	if rapid.Bool().Draw(t, "nobody") {
		return 0
	}
	return m.half(t, "presence")
}

func (m *model) touch(t *rapid.T) {
	ref, presence := m.ref(t), m.presence(t)
	got, err := m.f.Store.Touch(m.f.Context(), ref.Owner, ref.Key, presence)
	r := m.at(ref.Key)
	if r == nil {
		if !errors.Is(err, approval.ErrNotFound) {
			t.Fatalf("Touch: state %q, error %v; want ErrNotFound", got.State, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("Touch: %v", err)
	}
	if !m.view(r).State.Waiting() {
		return // where it means nothing, it may do what it likes to the time
	}
	r.present = max(r.present, m.now+presence)
	m.check(t, got, r)
}

func (m *model) change(t *rapid.T) {
	m.last = approval.Change{
		Ref:      m.ref(t),
		Event:    rapid.SampledFrom(events).Draw(t, "event"),
		Reason:   rapid.SampledFrom([]approval.Reason{"", approval.ReasonProvider}).Draw(t, "reason"),
		Op:       rand.Text(),
		Plan:     some(t, "plan"),
		Outcome:  some(t, "outcome"),
		Interval: time.Duration(rapid.IntRange(0, 3).Draw(t, "interval")) * m.f.Tick,
	}
	m.last.Slot = slotOf(m.last.Ref)
	// What is empty must be zero: the contract does not say what else it is.
	if len(m.last.Plan) == 0 {
		m.last.Plan = nil
	}
	if len(m.last.Outcome) == 0 {
		m.last.Outcome = nil
	}
	if m.last.Event.To().Live() {
		if rapid.Bool().Draw(t, "anew") {
			m.last.Lasts = m.half(t, "lasts")
		}
		m.last.Keep = m.whole(t, "keep")
	} else {
		m.last.Keep = m.half(t, "keep")
	}
	m.again(t)
}

// again makes the last change again.
func (m *model) again(t *rapid.T) {
	c := m.last
	if c.Op == "" {
		t.Skip("nothing to repeat")
	}
	got, err := m.f.Store.Change(m.f.Context(), c)
	r := m.find(c.Ref)
	if r == nil {
		if !errors.Is(err, approval.ErrNotFound) {
			t.Fatalf("Change: error %v; want ErrNotFound", err)
		}
		return
	}
	if seen := m.view(r); r.op != c.Op && !c.Event.Allowed(seen.State) {
		refused, ok := errors.AsType[*approval.TransitionError](err)
		if !ok || *refused != (approval.TransitionError{Event: c.Event, State: seen.State}) {
			t.Fatalf("Change %s: error %v; want a TransitionError in state %s", c.Event, err, seen.State)
		}
		m.check(t, got, r)
		return
	}
	if err != nil {
		t.Fatalf("Change %s: %v", c.Event, err)
	}
	if r.op != c.Op {
		m.apply(r, c)
	}
	m.check(t, got, r)
}

// apply makes a change that is allowed.
func (m *model) apply(r *modelRecord, c approval.Change) {
	r.State, r.Reason, r.op = c.Event.To(), c.Reason, c.Op
	if c.Plan != nil {
		r.Plan = c.Plan
	}
	if c.Outcome != nil {
		r.Outcome = c.Outcome
	}
	if c.Interval != 0 {
		r.Interval = c.Interval
	}
	if !r.State.Live() {
		r.ends = m.now
	} else if c.Lasts != 0 {
		r.ends = m.now + c.Lasts
	}
	r.gone = r.ends + c.Keep
}

func (m *model) park(t *rapid.T) {
	ref := m.ref(t)
	sealed := rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "sealed")
	err := m.f.Store.Park(m.f.Context(), ref, sealed)
	r := m.find(ref)
	if r == nil {
		if !errors.Is(err, approval.ErrNotFound) {
			t.Fatalf("Park: error %v; want ErrNotFound", err)
		}
		return
	}
	if err != nil {
		t.Fatalf("Park: %v", err)
	}
	r.parked = sealed
}

func (m *model) parked(t *rapid.T) {
	ref := m.ref(t)
	got, err := m.f.Store.Parked(m.f.Context(), ref)
	r := m.find(ref)
	if r == nil || r.parked == nil {
		if !errors.Is(err, approval.ErrNotFound) {
			t.Fatalf("Parked: error %v; want ErrNotFound", err)
		}
		return
	}
	if err != nil || !bytes.Equal(got, r.parked) {
		t.Fatalf("Parked: %x, error %v; want %x", got, err, r.parked)
	}
}

func (m *model) unpark(t *rapid.T) {
	ref := m.ref(t)
	r := m.find(ref)
	there := r != nil && r.parked != nil
	err := m.f.Store.Unpark(m.f.Context(), ref)
	if there && err != nil || !there && !errors.Is(err, approval.ErrNotFound) {
		t.Fatalf("Unpark: %v; there is something: %t", err, there)
	}
	if there {
		r.parked = nil
	}
}
