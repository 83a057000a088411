package redisstore_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
)

// redisTime begins to measure, and returns what reports how much CPU time Redis
// took for each operation.
func redisTime(b *testing.B, server *redistest.Server) func() {
	c := server.Client(b)
	used := func() (micros float64) {
		info := c.InfoMap(context.Background(), "cpu").Val()["CPU"]
		for _, key := range []string{"used_cpu_sys_main_thread", "used_cpu_user_main_thread"} {
			seconds, err := strconv.ParseFloat(info[key], 64)
			if err != nil {
				b.Fatal(err)
			}
			micros += seconds * 1e6
		}
		return micros
	}
	before := used()
	return func() { b.ReportMetric((used()-before)/float64(b.N), "redis-µs/op") }
}

// BenchmarkStore measures calls to a real Redis on the same machine.
func BenchmarkStore(b *testing.B) {
	server := redistest.Start(b)
	s := open(b, redisstore.Options{URLs: []string{server.URL}})
	ctx := context.Background()
	plan := bytes.Repeat([]byte{7}, 400)
	fresh := func(b *testing.B) approval.Ref {
		ref := newRef()
		n := approval.New{Ref: ref, Plan: plan, Lasts: time.Minute, Keep: time.Minute}
		if _, _, err := s.Create(ctx, n); err != nil {
			b.Fatal(err)
		}
		return ref
	}
	b.Run("Create", func(b *testing.B) {
		for b.Loop() {
			fresh(b)
		}
	})
	b.Run("Get", func(b *testing.B) {
		ref := fresh(b)
		for b.Loop() {
			if _, err := s.Get(ctx, ref.Owner, ref.Key); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Change", func(b *testing.B) {
		ref := fresh(b)
		c := approval.Change{Ref: ref, Event: approval.EventStarted, Op: "started", Lasts: time.Hour, Keep: time.Minute}
		if _, err := s.Change(ctx, c); err != nil {
			b.Fatal(err)
		}
		c.Event = approval.EventSlow
		for b.Loop() {
			c.Op = rand.Text()
			if _, err := s.Change(ctx, c); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ClaimNothing", func(b *testing.B) {
		defer redisTime(b, server)()
		for b.Loop() {
			if _, _, err := s.Claim(ctx, 64, time.Minute); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ClaimAndExtend", func(b *testing.B) {
		for range 1000 { // in the background
			if err := s.Schedule(ctx, newRef(), time.Hour); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Schedule(ctx, newRef(), 0); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			leases, _, err := s.Claim(ctx, 64, time.Minute)
			if err != nil || len(leases) != 1 {
				b.Fatalf("Claim took %d, error %v", len(leases), err)
			}
			if _, err := s.Extend(ctx, leases[0], 0); err != nil {
				b.Fatal(err)
			}
		}
	})
	// A thousand polls a second, in fifty calls, out of many that wait.
	b.Run("Claim20", func(b *testing.B) {
		for range 10_000 {
			if err := s.Schedule(ctx, newRef(), time.Hour); err != nil {
				b.Fatal(err)
			}
		}
		for range 40 {
			if err := s.Schedule(ctx, newRef(), 0); err != nil {
				b.Fatal(err)
			}
		}
		defer redisTime(b, server)()
		for b.Loop() {
			// Under a lease so short that they are due again.
			leases, _, err := s.Claim(ctx, 20, time.Microsecond)
			if err != nil || len(leases) != 20 {
				b.Fatalf("Claim took %d, error %v", len(leases), err)
			}
		}
	})
}
