package redisstore_test

import (
	"context"
	"io"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
)

// severed is a connection that loses a reply when it is told to, the next one
// or one after it: Redis has done what it was asked, and nobody hears of it.
type severed struct {
	net.Conn
	loses *atomic.Int32 // 0 is none, 1 the next
}

func (c severed) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil && c.loses.Load() > 0 && c.loses.Add(-1) == 0 {
		_ = c.Conn.Close()
		return 0, io.EOF
	}
	return n, err
}

// openSevered opens a store that loses replies when it is told to.
func openSevered(t *testing.T, addr, prefix string) (*redisstore.Store, *atomic.Int32) {
	t.Helper()
	loses := new(atomic.Int32)
	client := redis.NewClient(&redis.Options{
		ContextTimeoutEnabled: true,
		Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			return severed{c, loses}, err
		},
	})
	t.Cleanup(func() { _ = client.Close() })
	s, err := redisstore.New(redisstore.Config{Client: client, Prefix: prefix, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, loses
}

// go-redis repeats a command whose reply was lost, after it has had its effect.
// Whatever it was, the data is then as if it had been sent once, and the caller
// hears what he would have heard.
func TestStore_survivesLostReplies(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c, ctx := server.Client(t), t.Context()
	once, _ := openSevered(t, server.Addr, "once:")
	lost, loses := openSevered(t, server.Addr, "lost:")
	if err := tour(t, lost); err != nil { // so that the scripts are known
		t.Fatal(err)
	}
	if err := c.FlushDB(ctx).Err(); err != nil {
		t.Fatal(err)
	}

	ref, next := newRef(), newRef()
	next.Owner, next.Key = ref.Owner, ref.Key
	var leases [2][]approval.Lease
	index := map[*redisstore.Store]int{once: 0, lost: 1}
	created := func(ref approval.Ref, replace string) func(s *redisstore.Store) (any, error) {
		return func(s *redisstore.Store) (any, error) {
			r, created, err := s.Create(ctx, approval.New{
				Ref: ref, Plan: []byte("plan"), Lasts: time.Hour, Keep: time.Hour, Presence: time.Minute, Replace: replace,
			})
			return []any{r.ID, r.State, created}, err
		}
	}
	changed := func(ref approval.Ref, e approval.Event) func(s *redisstore.Store) (any, error) {
		return func(s *redisstore.Store) (any, error) {
			r, err := s.Change(ctx, approval.Change{Ref: ref, Event: e, Op: "op " + string(e), Lasts: time.Hour, Keep: time.Hour})
			return []any{r.ID, r.State}, err
		}
	}
	for _, step := range []struct {
		name string
		call func(s *redisstore.Store) (any, error)
	}{
		{"Create", created(ref, "")},
		{"Touch", func(s *redisstore.Store) (any, error) {
			r, err := s.Touch(ctx, ref.Owner, ref.Key, time.Minute)
			return r.State, err
		}},
		{"Get", func(s *redisstore.Store) (any, error) {
			r, err := s.Get(ctx, ref.Owner, ref.Key)
			return r.State, err
		}},
		{"Schedule", func(s *redisstore.Store) (any, error) { return nil, s.Schedule(ctx, ref, 0) }},
		{"Change to pending", changed(ref, approval.EventStarted)},
		{"Change of the interval", changed(ref, approval.EventSlow)},
		{"Park", func(s *redisstore.Store) (any, error) { return nil, s.Park(ctx, ref, []byte("body")) }},
		{"Parked", func(s *redisstore.Store) (any, error) { return s.Parked(ctx, ref) }},
		{"Change to approved", changed(ref, approval.EventApprove)},
		{"Spend", func(s *redisstore.Store) (any, error) {
			r, spent, err := s.Spend(ctx, ref.Owner, ref.Key, "op", 0)
			return []any{r.State, spent}, err
		}},
		{"Create after the end", created(next, ref.ID)},
		{"Change to denied", changed(next, approval.EventDeny)},
		{"Extend", func(s *redisstore.Store) (any, error) {
			l, err := s.Extend(ctx, leases[index[s]][0], time.Hour)
			return l.Ref, err
		}},
		{"Drop", func(s *redisstore.Store) (any, error) { return nil, s.Drop(ctx, leases[index[s]][0]) }},
	} {
		if step.name == "Extend" { // under a lease; a lost one is another test
			for s, i := range index {
				var err error
				if leases[i], _, err = s.Claim(ctx, 1, time.Hour); err != nil || len(leases[i]) != 1 {
					t.Fatalf("Claim took %d, error %v", len(leases[i]), err)
				}
			}
		}
		want, err := step.call(once)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		loses.Store(1)
		got, err := step.call(lost)
		if err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if loses.Load() != 0 {
			t.Errorf("%s: no reply was lost", step.name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: answer (-once +lost):\n%s", step.name, diff)
		}
		if diff := cmp.Diff(contents(t, c, "once:"), contents(t, c, "lost:")); diff != "" {
			t.Errorf("%s: data (-once +lost):\n%s", step.name, diff)
		}
	}
}

// times are what differs between two calls.
var times = regexp.MustCompile(`\d{13,}`)

// contents is what lies under a prefix, but for times.
func contents(t *testing.T, c *redis.Client, prefix string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for name, value := range dump(t, c) {
		if name, ok := strings.CutPrefix(name, prefix); ok {
			all[name] = times.ReplaceAllString(value, "T")
		}
	}
	return all
}

// A claim whose reply was lost is as one of a gateway that died: somebody else
// has the approval when the lease has lapsed, and nobody before.
func TestClaim_losesNoMoreThanALeaseWithItsReply(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s, loses := openSevered(t, server.Addr, "")
	if err := tour(t, s); err != nil {
		t.Fatal(err)
	}
	if err := server.Client(t).FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	ref, lease := newRef(), 3*time.Second
	if err := s.Schedule(t.Context(), ref, 0); err != nil {
		t.Fatal(err)
	}
	loses.Store(2) // of what is taken, after what there is
	if leases, _, err := s.Claim(t.Context(), 1, lease); err != nil || len(leases) != 0 || loses.Load() != 0 {
		t.Errorf("Claim took %d, error %v; want none, and a reply lost", len(leases), err)
	}
	if len(contents(t, server.Client(t), "stepup:leases:")) == 0 {
		t.Error("the lost reply was of something else")
	}
	if leases, _, err := s.Claim(t.Context(), 1, lease); err != nil || len(leases) != 0 {
		t.Errorf("Claim took %d, error %v; want none", len(leases), err)
	}
	pass(t, server.Client(t), lease)
	leases, _, err := s.Claim(t.Context(), 1, lease)
	if err != nil || len(leases) != 1 || leases[0].Ref != ref {
		t.Errorf("Claim took %d, error %v", len(leases), err)
	}
}
