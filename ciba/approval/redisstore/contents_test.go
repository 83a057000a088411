package redisstore_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
)

// dump returns everything that is in a Redis, as text under dotted names.
func dump(t *testing.T, c *redis.Client) map[string]string {
	t.Helper()
	ctx, all := t.Context(), make(map[string]string)
	keys, err := c.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		switch kind := c.Type(ctx, key).Val(); kind {
		case "string":
			all[key] = c.Get(ctx, key).Val()
		case "hash":
			for field, value := range c.HGetAll(ctx, key).Val() {
				all[key+" "+field] = value
			}
		case "zset":
			for _, z := range c.ZRangeWithScores(ctx, key, 0, -1).Val() {
				all[fmt.Sprintf("%s %s", key, z.Member)] = strconv.FormatFloat(z.Score, 'f', -1, 64)
			}
		default:
			t.Errorf("a %s at %q", kind, key)
		}
	}
	return all
}

// A stolen dump must hold what the engine gave, sealed or hashed, and times,
// and nothing besides.
func TestStore_holdsOnlyWhatItWasGiven(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, redisstore.Options{URLs: []string{server.URL}})
	c, ctx := server.Client(t), t.Context()
	ref := newRef()
	session := approval.Tag([]byte("0123456789abcdef"))
	n := approval.New{
		Ref: ref, Session: session, Slot: approval.Tag([]byte("slot-of-16-bytes")),
		Plan: []byte("sealed plan"), Lasts: time.Hour, Keep: time.Hour, Presence: time.Minute,
	}
	if _, _, err := s.Create(ctx, n); err != nil {
		t.Fatal(err)
	}
	change := func(e approval.Event, outcome string) {
		t.Helper()
		if _, err := s.Change(ctx, approval.Change{
			Ref: ref, Slot: n.Slot, Event: e, Reason: "why", Op: "op", Outcome: []byte(outcome),
			Interval: 5 * time.Second, Lasts: time.Hour, Keep: time.Hour,
		}); err != nil {
			t.Fatal(err)
		}
	}
	change(approval.EventStarted, "sealed outcome")
	if err := s.Park(ctx, ref, []byte("sealed body")); err != nil {
		t.Fatal(err)
	}
	if err := s.Schedule(ctx, ref, 0); err != nil {
		t.Fatal(err)
	}
	leases, _, err := s.Claim(ctx, 1, time.Minute)
	if err != nil || len(leases) != 1 {
		t.Fatalf("Claim took %d, error %v", len(leases), err)
	}

	name := "{" + ref.Owner.String() + "}" + ref.Key.String()
	member := string(slices.Concat(ref.Owner[:], ref.Key[:], []byte(ref.ID)))
	record, parked := "stepup:record:"+name, "stepup:parked:"+name
	slot := "stepup:slot:{" + ref.Owner.String() + "}" + n.Slot.String()
	want := map[string]string{
		record + " i": ref.ID,
		record + " s": "time time pending why op",
		record + " t": string(session[:]) + "slot-of-16-bytes",
		record + " v": "5000000000",
		record + " p": "sealed plan",
		record + " o": "sealed outcome",
		parked:        "sealed body",
		slot:          ref.Key.String() + " " + ref.ID,
	}
	got := dump(t, c)
	for name, value := range got {
		_, isTime := strings.CutPrefix(name, "stepup:queue:{")
		_, isToken := strings.CutPrefix(name, "stepup:leases:{")
		if isTime || isToken {
			if at := strings.TrimLeft(name[strings.Index(name, "}")+1:], " "); at != member && at != "" {
				t.Errorf("%q in the queue", at)
			}
			if n, err := strconv.ParseInt(value, 10, 64); err != nil || time.UnixMicro(n).Year() < 2020 {
				t.Errorf("%q in the queue is no time", value)
			}
			delete(got, name)
		}
	}
	words := strings.Split(got[record+" s"], " ")
	for i := range min(2, len(words)) {
		if n, err := strconv.ParseInt(words[i], 10, 64); err == nil && time.UnixMicro(n).Year() > 2020 {
			words[i] = "time"
		}
	}
	got[record+" s"] = strings.Join(words, " ")
	if !maps.Equal(got, want) {
		t.Errorf("Redis holds %q; want %q", got, want)
	}
	for _, key := range []string{record, parked} {
		if left := c.PTTL(ctx, key).Val(); left <= time.Hour || left > 2*time.Hour {
			t.Errorf("a record's key lives for %v; want 2 h", left)
		}
	}

	if left := c.PTTL(ctx, slot).Val(); left <= 0 || left > time.Hour {
		t.Errorf("the slot is held for %v; want 1 h", left)
	}

	// Afterwards nothing stays but the counters of tokens.
	if err := s.Drop(ctx, leases[0]); err != nil {
		t.Fatal(err)
	}
	end := approval.Change{Ref: ref, Slot: n.Slot, Event: approval.EventDeny, Op: "end", Keep: 0}
	if _, err := s.Change(ctx, end); err != nil {
		t.Fatal(err)
	}
	pass(t, c, 10*time.Millisecond) // Redis counts in milliseconds
	for name := range dump(t, c) {
		if !strings.HasPrefix(name, "stepup:leases:{") || !strings.HasSuffix(name, "} ") {
			t.Errorf("%q stays behind", name)
		}
	}
}

// A million pending approvals are to fit into about 1.3 GiB, without the slots.
func TestStore_pendingApprovalNeedsLittleMemory(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, redisstore.Options{URLs: []string{server.URL}})
	c, ctx := server.Client(t), t.Context()
	ref := newRef()
	n := approval.New{Ref: ref, Session: approval.Tag{1}, Plan: bytes.Repeat([]byte{7}, 400), Lasts: time.Hour, Keep: time.Hour}
	if _, _, err := s.Create(ctx, n); err != nil {
		t.Fatal(err)
	}
	started := approval.Change{
		Ref: ref, Event: approval.EventStarted, Op: newRef().ID, Plan: n.Plan, Interval: 5 * time.Second,
		Lasts: time.Hour, Keep: time.Hour,
	}
	if _, err := s.Change(ctx, started); err != nil {
		t.Fatal(err)
	}
	used := c.MemoryUsage(ctx, "stepup:record:{"+ref.Owner.String()+"}"+ref.Key.String()).Val()
	t.Logf("%d bytes", used)
	if used == 0 || used > 1400 {
		t.Errorf("a pending approval takes %d bytes", used)
	}
}
