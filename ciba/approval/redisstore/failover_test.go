package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
)

// openLive opens a store as gateways do, with the timeouts that they have.
func openLive(t *testing.T, o redisstore.Options) *redisstore.Store {
	t.Helper()
	s, err := redisstore.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// slack is what a call may take more than its timeout, on a machine that is
// busy with other tests.
const slack = 2 * time.Second

// bounded makes a call that must not take longer than it may.
func bounded(t *testing.T, call func() error) error {
	t.Helper()
	begun := time.Now()
	err := call()
	if took := time.Since(begun); took > 2*time.Second+slack {
		t.Errorf("a call took %v", took)
	}
	return err
}

// recovered calls until it succeeds, and tells how long that took. Every call is
// bounded.
func recovered(t *testing.T, call func() error) time.Duration {
	t.Helper()
	begun := time.Now()
	for {
		err := bounded(t, call)
		if err == nil {
			return time.Since(begun)
		}
		if time.Since(begun) > 30*time.Second {
			t.Fatalf("it does not recover: %v", err)
		}
	}
}

// getter reads a record, which must be in a state, if Redis answers.
func getter(t *testing.T, s *redisstore.Store, ref approval.Ref, want approval.State) func() error {
	return func() error {
		r, err := s.Get(t.Context(), ref.Owner, ref.Key)
		if errors.Is(err, approval.ErrNotFound) || err == nil && r.State != want {
			t.Fatalf("state %q, error %v; want %s", r.State, err, want)
		}
		return err
	}
}

// replicated waits until the replicas of a server have what it has.
func replicated(t *testing.T, s *redistest.Server, replicas int) {
	t.Helper()
	conn := s.Client(t).Conn()
	defer conn.Close()
	// Something to wait for: the connection has written nothing yet.
	if err := conn.Publish(t.Context(), "anything", "").Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Wait(t.Context(), replicas, 4*time.Second).Result(); err != nil || int(n) < replicas {
		t.Fatalf("%d replicas know, error %v", n, err)
	}
}

func TestStore_goesOnAfterAFailoverBySentinel(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*testing.T, *redistest.Sentinel){
		"the primary is killed": func(_ *testing.T, s *redistest.Sentinel) { s.Servers[0].Stop() },
		"the primary hangs":     func(t *testing.T, s *redistest.Sentinel) { s.Servers[0].Pause(t) },
		// As a machine on which both were.
		"the primary and the sentinel in use hang": func(t *testing.T, s *redistest.Sentinel) {
			inUse(t, s).Pause(t)
			s.Servers[0].Pause(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sentinel := redistest.StartSentinel(t, 1)
			s := openLive(t, redisstore.Options{URLs: sentinel.URLs(), MasterName: redistest.MasterName})
			l, end := listen(t, s)
			defer end()
			l.want(gap)
			ref := newRef()
			create(t, s, ref)
			replicated(t, sentinel.Servers[0], 1)

			begun := time.Now()
			fault(t, sentinel)
			l.want(lost)
			if took := time.Since(begun); took > time.Second+slack {
				t.Errorf("the feed was lost after %v", took)
			}
			took := recovered(t, getter(t, s, ref, approval.Starting))
			l.want(gap)
			t.Logf("calls again after %v, news after %v", took, time.Since(begun))
			change(t, s, ref, approval.EventStarted)
			l.want(approval.News{ID: ref.ID})
			if to := sentinel.Failover(t, sentinel.Servers[0]); to != sentinel.Servers[1] {
				t.Error("another primary than the replica")
			}
		})
	}
}

// inUse is the sentinel that a client listens to.
func inUse(t *testing.T, s *redistest.Sentinel) *redistest.Server {
	t.Helper()
	for _, sentinel := range s.Sentinels {
		list, err := sentinel.Client(t).ClientList(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(list, " sub=2 ") {
			return sentinel
		}
	}
	t.Fatal("no sentinel is in use")
	return nil
}

func TestStore_goesOnAfterAFailoverInACluster(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*testing.T, *redistest.Server){
		"killed": func(_ *testing.T, s *redistest.Server) { s.Stop() },
		"hangs":  func(t *testing.T, s *redistest.Server) { s.Pause(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := redistest.StartCluster(t, 1)
			s := openLive(t, redisstore.Options{URLs: cluster.URLs()})
			l, end := listen(t, s)
			defer end()
			l.want(clusterGap)
			ref := newRef()
			create(t, s, ref)
			// The one that has the record is not always the one with the news.
			primary := cluster.Owner(t, "{"+ref.Owner.String()+"}")
			replicated(t, primary, 1)

			fault(t, primary)
			took := recovered(t, getter(t, s, ref, approval.Starting))
			t.Logf("calls again after %v", took)
			recovered(t, func() error {
				_, err := s.Change(t.Context(), approval.Change{
					Ref: ref, Event: approval.EventStarted, Op: "started", Lasts: time.Hour, Keep: time.Hour,
				})
				return err
			})
			// Heard, or known to have been missed.
			n := <-l.news
			for ; !n.Gap && n.ID != ref.ID; n = <-l.news {
			}
		})
	}
}

// spread is one approval in each shard of the queue.
func spread() [8]approval.Ref {
	var refs [8]approval.Ref
	for found := 0; found < len(refs); {
		ref := newRef()
		if n := redisstore.ShardOf(ref); refs[n].ID == "" {
			refs[n] = ref
			found++
		}
	}
	return refs
}

// Approvals whose part of the queue is away wait; others do not.
func TestClaim_goesOnWithTheShardsThatAnswer(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*testing.T, *redistest.Server) (mend func()){
		"a node is killed": func(t *testing.T, s *redistest.Server) func() {
			s.Stop()
			return func() { s.Restart(t) }
		},
		"a node hangs": func(t *testing.T, s *redistest.Server) func() {
			s.Pause(t)
			return func() { s.Resume(t) }
		},
		"a slot has no owner": func(t *testing.T, s *redistest.Server) func() {
			c := s.Client(t)
			slot := c.ClusterKeySlot(t.Context(), "stepup:queue:{0}").Val()
			if err := c.ClusterDelSlots(t.Context(), int(slot)).Err(); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := c.ClusterAddSlots(t.Context(), int(slot)).Err(); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := redistest.StartCluster(t, 0, "--cluster-require-full-coverage", "no",
				"--appendonly", "yes", "--appendfsync", "always")
			s := openLive(t, redisstore.Options{URLs: cluster.URLs()})
			victim := cluster.Owner(t, "stepup:queue:{0}")
			refs := spread()
			here := make(map[string]bool) // by ID
			for n, ref := range refs {
				if err := s.Schedule(t.Context(), ref, 0); err != nil {
					t.Fatal(err)
				}
				key := fmt.Sprintf("stepup:queue:{%d}", n)
				here[ref.ID] = cluster.Owner(t, key) != victim || name == "a slot has no owner" && n != 0
			}
			count := func(want bool) (n int) {
				for _, is := range here {
					if is == want {
						n++
					}
				}
				return n
			}
			claimed := func(lease time.Duration) int {
				var n int
				err := bounded(t, func() error {
					leases, _, err := s.Claim(t.Context(), 10, lease)
					n = len(leases)
					return err
				})
				incomplete := errors.As(err, new(*approval.IncompleteError))
				if n < len(refs) && !incomplete || err != nil && !incomplete {
					t.Errorf("Claim took %d: %v", n, err)
				}
				return n
			}
			mend := fault(t, victim)
			if n := claimed(0); n != count(true) {
				t.Errorf("Claim took %d; want %d", n, count(true))
			}
			begun := time.Now()
			for range 10 {
				if n := claimed(0); n != count(true) {
					t.Errorf("Claim took %d; want %d", n, count(true))
				}
			}
			if took := time.Since(begun); took > slack {
				t.Errorf("10 Claims took %v", took)
			}
			mend()
			begun = time.Now()
			for claimed(0) != len(refs) {
				if time.Since(begun) > 30*time.Second {
					t.Fatal("the shards do not come back")
				}
			}
			t.Logf("all are back after %v", time.Since(begun))
		})
	}
}

// Nothing fails and nothing is lost while slots move.
func TestStore_followsASlotThatMoves(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 0)
	s := openLive(t, redisstore.Options{URLs: cluster.URLs()})
	l, end := listen(t, s)
	defer end()
	l.want(clusterGap)
	ref := newRef()
	owner := "{" + ref.Owner.String() + "}"
	queue := fmt.Sprintf("stepup:queue:{%d}", redisstore.ShardOf(ref))
	create(t, s, ref)
	change(t, s, ref, approval.EventStarted)
	if err := s.Schedule(t.Context(), ref, 0); err != nil {
		t.Fatal(err)
	}

	// In the middle of the move, what needs keys that are not there waits.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 2)
	cluster.MoveSlot(t, owner, func() {
		if err := getter(t, s, ref, approval.Pending)(); err != nil {
			t.Errorf("Get: %v", err)
		}
		go func() {
			_, err := s.Change(ctx, approval.Change{Ref: ref, Event: approval.EventApprove, Op: "op", Lasts: time.Hour, Keep: time.Hour})
			ended <- err
		}()
		pass(t, cluster.Nodes[0].Client(t), 300*time.Millisecond)
	})
	if err := <-ended; err != nil {
		t.Errorf("Change: %v", err)
	}
	if err := getter(t, s, ref, approval.Approved)(); err != nil {
		t.Errorf("Get: %v", err)
	}

	var leases []approval.Lease
	cluster.MoveSlot(t, queue, func() {
		go func() {
			var err error
			leases, _, err = s.Claim(ctx, 1, time.Hour)
			ended <- err
		}()
		pass(t, cluster.Nodes[0].Client(t), 300*time.Millisecond)
	})
	if err := <-ended; err != nil || len(leases) != 1 || leases[0].Ref != ref {
		t.Fatalf("Claim took %d, error %v", len(leases), err)
	}
	if _, err := s.Extend(ctx, leases[0], time.Hour); err != nil {
		t.Errorf("Extend: %v", err)
	}
	for n := range 2 {
		_, spent, err := s.Spend(ctx, ref.Owner, ref.Key, fmt.Sprint("spend ", n), 0)
		if err != nil || spent != (n == 0) {
			t.Errorf("Spend %d: spent %t, error %v", n, spent, err)
		}
	}
}
