package redisstore_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
)

// newRef is a name that no record has.
func newRef() approval.Ref {
	ref := approval.Ref{ID: rand.Text()}
	rand.Read(ref.Owner[:])
	rand.Read(ref.Key[:])
	return ref
}

// create stores a record that must be new.
func create(t testing.TB, s *redisstore.Store, ref approval.Ref) {
	t.Helper()
	n := approval.New{Ref: ref, Session: approval.Tag{1}, Plan: []byte("plan"), Lasts: time.Hour, Keep: time.Hour}
	if _, created, err := s.Create(t.Context(), n); err != nil || !created {
		t.Fatalf("Create: created %t, error %v", created, err)
	}
}

// change makes a change that must be allowed.
func change(t testing.TB, s *redisstore.Store, ref approval.Ref, e approval.Event) {
	t.Helper()
	c := approval.Change{Ref: ref, Event: e, Op: rand.Text(), Lasts: time.Hour, Keep: time.Hour}
	if _, err := s.Change(t.Context(), c); err != nil {
		t.Fatalf("Change %s: %v", e, err)
	}
}

// Somebody who damages a record must not make it look like another one.
func TestStore_refusesDamagedRecords(t *testing.T) {
	m := miniredis.RunT(t)
	s := open(t, redisstore.Options{URLs: []string{"redis://" + m.Addr()}})
	const gone = "\x00gone"
	for name, damage := range map[string]struct{ field, value string }{
		"no ID":               {"i", gone},
		"no session":          {"t", gone},
		"no interval":         {"v", gone},
		"no plan":             {"p", gone},
		"no outcome":          {"o", gone},
		"no state":            {"s", gone},
		"empty ID":            {"i", ""},
		"short session":       {"t", "123"},
		"long session":        {"t", strings.Repeat("x", 33)},
		"interval in words":   {"v", "five"},
		"fractional interval": {"v", "1.5"},
		"empty state":         {"s", ""},
		"unknown state":       {"s", "9999999999999999 1 granted  op"},
		"state in capitals":   {"s", "9999999999999999 1 Approved  op"},
		"no reason":           {"s", "9999999999999999 1 approved op"},
		"no Op":               {"s", "9999999999999999 1 approved "},
		"end in words":        {"s", "never 1 approved  op"},
		"negative end":        {"s", "-1 1 approved  op"},
		"presence in words":   {"s", "9999999999999999 long approved  op"},
		"no presence":         {"s", "9999999999999999 approved  op"},
	} {
		t.Run(name, func(t *testing.T) {
			m.FlushAll()
			ref := newRef()
			create(t, s, ref)
			key := recordKey(t, m)
			if damage.value == gone {
				m.HDel(key, damage.field)
			} else {
				m.HSet(key, damage.field, damage.value)
			}
			ctx := t.Context()
			check := func(method string, err error) {
				t.Helper()
				if err == nil || errors.Is(err, approval.ErrNotFound) {
					t.Errorf("%s: error %v; want one about the damage", method, err)
				} else if strings.Contains(err.Error(), ref.ID) {
					t.Errorf("%s: the error contains the ID", method)
				}
			}
			_, err := s.Get(ctx, ref.Owner, ref.Key)
			check("Get", err)
			_, _, err = s.Spend(ctx, ref.Owner, ref.Key, rand.Text(), time.Minute)
			check("Spend", err)
			_, _, err = s.Create(ctx, approval.New{Ref: newAt(ref), Replace: ref.ID, Lasts: time.Hour, Keep: time.Hour})
			check("Create", err)
			if damage.field == "i" && damage.value == "" {
				return // to Change, it has another ID
			}
			c := approval.Change{Ref: ref, Event: approval.EventSpend, Op: rand.Text(), Keep: time.Hour}
			_, err = s.Change(ctx, c)
			check("Change", err)
		})
	}
}

// Spend reads less of a record than the others do.
func TestStore_doesNotSpendWhatIsDamaged(t *testing.T) {
	m := miniredis.RunT(t)
	s := open(t, redisstore.Options{URLs: []string{"redis://" + m.Addr()}})
	for _, field := range []string{"i", "o", "s"} {
		t.Run(field, func(t *testing.T) {
			m.FlushAll()
			ref := newRef()
			create(t, s, ref)
			for _, event := range []approval.Event{approval.EventStarted, approval.EventApprove} {
				c := approval.Change{Ref: ref, Event: event, Op: rand.Text(), Outcome: []byte("proof"), Lasts: time.Hour, Keep: time.Hour}
				if _, err := s.Change(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
			key := recordKey(t, m)
			m.HDel(key, field)
			before := m.Dump()
			_, spent, err := s.Spend(t.Context(), ref.Owner, ref.Key, rand.Text(), time.Minute)
			if err == nil || errors.Is(err, approval.ErrNotFound) || spent {
				t.Errorf("spent: %t, error %v; want one about the damage", spent, err)
			}
			if m.Dump() != before {
				t.Error("the record has changed")
			}
		})
	}
}

// recordKey finds the one record there is.
func recordKey(t *testing.T, m *miniredis.Miniredis) string {
	t.Helper()
	for _, key := range m.Keys() {
		if strings.HasPrefix(key, "stepup:record:") {
			return key
		}
	}
	t.Fatal("no record")
	return ""
}

// newAt is another ID under the same owner and key.
func newAt(ref approval.Ref) approval.Ref {
	ref.ID = rand.Text()
	return ref
}

func TestStore_refusesKeysOfAnotherKind(t *testing.T) {
	m := miniredis.RunT(t)
	s := open(t, redisstore.Options{URLs: []string{"redis://" + m.Addr()}})
	ref, ctx := newRef(), t.Context()
	create(t, s, ref)
	key := recordKey(t, m)
	m.Del(key)
	if err := m.Set(key, "a string"); err != nil {
		t.Fatal(err)
	}
	_, err := s.Get(ctx, ref.Owner, ref.Key)
	for method, err := range map[string]error{
		"Get":    err,
		"Park":   s.Park(ctx, ref, []byte("body")),
		"Unpark": s.Unpark(ctx, ref),
	} {
		if err == nil || errors.Is(err, approval.ErrNotFound) {
			t.Errorf("%s: error %v", method, err)
		}
	}
	if _, err := s.Parked(ctx, ref); err == nil || errors.Is(err, approval.ErrNotFound) {
		t.Errorf("Parked: error %v", err)
	}
}

// What is damaged in the queue must not keep the rest of it from being polled.
func TestStore_goesOnBesideADamagedQueue(t *testing.T) {
	m := miniredis.RunT(t)
	s := open(t, redisstore.Options{URLs: []string{"redis://" + m.Addr()}})
	for n := range 8 {
		if _, err := m.ZAdd(fmt.Sprintf("stepup:queue:{%d}", n), 1, "short"); err != nil {
			t.Fatal(err)
		}
	}
	ref := newRef()
	if err := s.Schedule(t.Context(), ref, 0); err != nil {
		t.Fatal(err)
	}
	leases, _, err := s.Claim(t.Context(), 10, time.Minute)
	if err != nil || len(leases) != 1 || leases[0].Ref != ref {
		t.Fatalf("Claim took %d, error %v", len(leases), err)
	}
	if err := s.Drop(t.Context(), leases[0]); err != nil {
		t.Fatal(err)
	}

	// A shard that is no queue at all.
	shard := -1
	for n := range 8 {
		m.Del(fmt.Sprintf("stepup:queue:{%d}", n))
	}
	refs := []approval.Ref{newRef(), newRef(), newRef(), newRef(), newRef(), newRef(), newRef(), newRef(), newRef()}
	for _, ref := range refs {
		if err := s.Schedule(t.Context(), ref, 0); err != nil {
			t.Fatal(err)
		}
	}
	lost := 0
	for n := range 8 {
		key := fmt.Sprintf("stepup:queue:{%d}", n)
		if members, _ := m.ZMembers(key); len(members) > 0 && shard < 0 {
			shard, lost = n, len(members)
			m.Del(key)
			if err := m.Set(key, "a string"); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 { // left out the second time
		leases, _, err = s.Claim(t.Context(), 10, 0)
		ie := (*approval.IncompleteError)(nil)
		if !errors.As(err, &ie) || ie.Away != fmt.Sprintf("shards %d", shard) || len(leases) != len(refs)-lost {
			t.Errorf("Claim took %d, error %v; want %d and to be told of the rest", len(leases), err, len(refs)-lost)
		}
	}
}

func TestStore_refusesDamagedSlotsAndCounters(t *testing.T) {
	m := miniredis.RunT(t)
	s := open(t, redisstore.Options{URLs: []string{"redis://" + m.Addr()}})
	ref, ctx := newRef(), t.Context()
	slot := "stepup:slot:{" + ref.Owner.String() + "}" + approval.Tag{}.String()
	for _, value := range []string{
		"", "free", "short id", ref.Key.String(), ref.Key.String() + " ", " " + ref.ID,
	} {
		if err := m.Set(slot, value); err != nil {
			t.Fatal(err)
		}
		_, _, err := s.Create(ctx, approval.New{Ref: ref, Lasts: time.Hour, Keep: time.Hour})
		if err == nil || errors.Is(err, approval.ErrBusy) {
			t.Errorf("slot %q: Create: error %v", value, err)
		}
	}
	for _, value := range []string{"", "1 2 3", "1 2 3 four", "-1 2 3 4"} {
		if err := m.Set("stepup:counter:{"+ref.Owner.String()+"}", value); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Take(ctx, ref.Owner, approval.Rate{Burst: 9, Per: time.Second}); err == nil {
			t.Errorf("counter %q: Take: no error", value)
		}
		if err := s.Block(ctx, ref.Owner, approval.Penalty{First: 1, Longest: 1}); err == nil {
			t.Errorf("counter %q: Block: no error", value)
		}
	}
}

// A slot whose holder has ended, or is gone, is free, whatever it says itself.
func TestStore_slotOfAnEndedHolderIsFree(t *testing.T) {
	m := miniredis.RunT(t)
	s := open(t, redisstore.Options{URLs: []string{"redis://" + m.Addr()}})
	for name, end := range map[string]func(ref approval.Ref){
		"ended": func(ref approval.Ref) {
			c := approval.Change{Ref: ref, Slot: approval.Tag{99}, Event: approval.EventDeny, Op: "op", Keep: time.Hour}
			if _, err := s.Change(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		},
		"gone": func(approval.Ref) { m.Del(recordKey(t, m)) },
	} {
		m.FlushAll()
		ref := newRef()
		create(t, s, ref)
		end(ref)
		next := newRef()
		next.Owner = ref.Owner
		create(t, s, next)
		other := newRef()
		other.Owner = ref.Owner
		_, _, err := s.Create(t.Context(), approval.New{Ref: other, Lasts: time.Hour, Keep: time.Hour})
		if !errors.Is(err, approval.ErrBusy) {
			t.Errorf("%s: Create: error %v; want ErrBusy", name, err)
		}
	}
}

// A clock that is set back must not bring an ended approval to life.
func TestStore_endedStaysEndedWhenTheClockIsSetBack(t *testing.T) {
	h := miniHarness(t)
	s := h.Store.(*redisstore.Store)
	ref := newRef()
	create(t, s, ref)
	change(t, s, ref, approval.EventDeny)
	h.Advance(-30 * time.Minute)
	r, err := s.Get(t.Context(), ref.Owner, ref.Key)
	if err != nil || r.State != approval.Denied || r.Left > 0 {
		t.Errorf("state %s, %v left, error %v; want denied", r.State, r.Left, err)
	}
	n := approval.New{Ref: newAt(ref), Replace: ref.ID, Lasts: time.Hour, Keep: time.Hour}
	if _, created, err := s.Create(t.Context(), n); err != nil || !created {
		t.Errorf("Create: created %t, error %v; want it replaced", created, err)
	}
}

// A lease from before a loss of data must not be taken for one after it.
func TestStore_tokensDoNotRepeatAfterALossOfData(t *testing.T) {
	m := miniredis.RunT(t)
	s := open(t, redisstore.Options{URLs: []string{"redis://" + m.Addr()}})
	ref, ctx := newRef(), t.Context()
	var tokens []int64
	for range 2 {
		if err := s.Schedule(ctx, ref, 0); err != nil {
			t.Fatal(err)
		}
		leases, _, err := s.Claim(ctx, 1, time.Minute)
		if err != nil || len(leases) != 1 {
			t.Fatalf("Claim took %d, error %v", len(leases), err)
		}
		tokens = append(tokens, leases[0].Token)
		m.FlushAll()
	}
	if tokens[1] <= tokens[0] {
		t.Error("the token of a lease was given out again")
	}
}

// Every call is bounded, also where Redis accepts connections and is silent.
func TestStore_givesUpAfterItsTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := redisstore.Open(redisstore.Options{
		URLs: []string{"redis://:hunter2@" + l.Addr().String()}, Timeout: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ref, ctx, begun := newRef(), t.Context(), time.Now()
	lease := approval.Lease{Ref: ref, Token: 1}
	for method, call := range map[string]func() error{
		"Create":   func() error { _, _, err := s.Create(ctx, approval.New{Ref: ref}); return err },
		"Get":      func() error { _, err := s.Get(ctx, ref.Owner, ref.Key); return err },
		"Touch":    func() error { _, err := s.Touch(ctx, ref.Owner, ref.Key, 0); return err },
		"Take":     func() error { _, err := s.Take(ctx, ref.Owner, approval.Rate{Burst: 1}); return err },
		"Block":    func() error { return s.Block(ctx, ref.Owner, approval.Penalty{}) },
		"Change":   func() error { _, err := s.Change(ctx, approval.Change{Ref: ref}); return err },
		"Park":     func() error { return s.Park(ctx, ref, nil) },
		"Parked":   func() error { _, err := s.Parked(ctx, ref); return err },
		"Unpark":   func() error { return s.Unpark(ctx, ref) },
		"Schedule": func() error { return s.Schedule(ctx, ref, 0) },
		"Claim":    func() error { _, _, err := s.Claim(ctx, 1, time.Minute); return err },
		"Extend":   func() error { _, err := s.Extend(ctx, lease, 0); return err },
		"Drop":     func() error { return s.Drop(ctx, lease) },
	} {
		err := call()
		if err == nil || errors.Is(err, approval.ErrNotFound) || errors.Is(err, approval.ErrLeaseLost) {
			t.Errorf("%s: error %v; want trouble", method, err)
		} else if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), ref.ID) {
			t.Errorf("%s: the error contains the password or the ID", method)
		}
	}
	// Calls of 50 ms each, on a machine that may be slow.
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the calls took %v", took)
	}
}

func TestStore_saysWhenRedisIsFull(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, redisstore.Options{URLs: []string{server.URL}})
	c, ctx := server.Client(t), t.Context()
	ref := newRef()
	create(t, s, ref)
	if err := c.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Park(ctx, ref, []byte("body")); !errors.Is(err, approval.ErrFull) {
		t.Errorf("Park: error %v; want ErrFull", err)
	}
	_, _, err := s.Create(ctx, approval.New{Ref: newRef(), Lasts: time.Hour, Keep: time.Hour})
	if !errors.Is(err, approval.ErrFull) {
		t.Errorf("Create: error %v; want ErrFull", err)
	}
	if r, err := s.Get(ctx, ref.Owner, ref.Key); err != nil || r.State != approval.Starting {
		t.Errorf("Get: state %s, error %v", r.State, err)
	}
}

// A restarted server has forgotten the scripts; New's client is the caller's.
func TestStore_bringsItsScriptsAndLeavesTheClient(t *testing.T) {
	m := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: m.Addr(), ContextTimeoutEnabled: true})
	defer client.Close()
	s, err := redisstore.New(redisstore.Config{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ref := newRef()
		create(t, s, ref)
		if err := s.Schedule(t.Context(), ref, 0); err != nil {
			t.Fatal(err)
		}
		leases, _, err := s.Claim(t.Context(), 1, time.Minute)
		if err != nil || len(leases) != 1 {
			t.Fatalf("Claim took %d, error %v", len(leases), err)
		}
		if err := client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Errorf("the caller's client after Close: %v", err)
	}
}

func TestStore_prefixesKeepStoresApart(t *testing.T) {
	m := miniredis.RunT(t)
	one := open(t, redisstore.Options{URLs: []string{"redis://" + m.Addr()}, Prefix: "one:"})
	two := open(t, redisstore.Options{URLs: []string{"redis://" + m.Addr()}, Prefix: "two:"})
	ref := newRef()
	create(t, one, ref)
	if err := one.Schedule(t.Context(), ref, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Get(t.Context(), ref.Owner, ref.Key); !errors.Is(err, approval.ErrNotFound) {
		t.Errorf("Get: error %v; want ErrNotFound", err)
	}
	if leases, next, err := two.Claim(t.Context(), 1, time.Minute); len(leases) != 0 || next >= 0 || err != nil {
		t.Errorf("Claim took %d, next %v, error %v; want none", len(leases), next, err)
	}
	for _, key := range m.Keys() {
		if !strings.HasPrefix(key, "one:") {
			t.Errorf("key %q", key)
		}
	}
}
