package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
)

// redisSentinelFailsOver kills the primary, or has it hang. The
// sentinels make the replica the primary.
func redisSentinelFailsOver(t *testing.T) {
	tests := make(map[string]func(*testing.T))
	for name, end := range map[string]func(*testing.T, *redistest.Server){
		"killed": func(_ *testing.T, primary *redistest.Server) { primary.Stop() },
		"hangs":  func(t *testing.T, primary *redistest.Server) { primary.Pause(t) },
	} {
		tests[name] = func(t *testing.T) {
			sentinel := redistest.StartSentinel(t, 1)
			s := newSite(t, siteConfig{Store: fmt.Sprintf("redis %s {\n master_name %s\n}",
				strings.Join(sentinel.URLs(), " "), redistest.MasterName)})
			c := newScene(t, s, 2)
			failed := time.Now()
			end(t, sentinel.Servers[0])
			c.someSayYes()
			c.answers(t)
			sentinel.Failover(t, sentinel.Servers[0])
			t.Logf("the sentinels took %v", time.Since(failed).Round(100*time.Millisecond))
			c.goesOn(t, "Sentinel fails over, the primary "+name, failed)
		}
	}
	together(t, tests)
}

// redisClusterFailsOver kills the primary that has some of the
// approvals. Its replica takes over.
func redisClusterFailsOver(t *testing.T) {
	cluster := redistest.StartCluster(t, 1)
	s := newSite(t, siteConfig{Store: "redis " + strings.Join(cluster.URLs(), " ")})
	c := newScene(t, s, 3)
	failed := time.Now()
	var all sync.WaitGroup
	all.Go(func() { cluster.Kill(t, "stepup:queue:{0}") })
	c.someSayYes()
	c.answers(t)
	all.Wait()
	t.Logf("the cluster took %v", time.Since(failed).Round(100*time.Millisecond))
	c.goesOn(t, "Cluster loses a primary", failed)
}

// redisClusterMovesSlots moves parts of the queue, and what belongs
// to people who are asked. Nobody notices.
func redisClusterMovesSlots(t *testing.T) {
	cluster := redistest.StartCluster(t, 0)
	s := newSite(t, siteConfig{Store: "redis " + strings.Join(cluster.URLs(), " ")})
	c := newScene(t, s, 3)
	moved := time.Now()
	c.someSayYes()
	for n := range 8 {
		cluster.MoveSlot(t, fmt.Sprintf("stepup:queue:{%d}", n), func() { s.normal(t, moved) })
	}
	records := 0
	for _, node := range cluster.Nodes {
		keys, err := node.Client(t).Keys(t.Context(), "stepup:record:*").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys[:len(keys)/2] {
			records++
			cluster.MoveSlot(t, key, func() {})
		}
	}
	if records == 0 {
		t.Error("no slot of an approval has moved")
	}
	c.goesOn(t, fmt.Sprintf("Cluster moves 8 slots of the queue and %d of approvals", records), time.Now())
}

// answers wants everybody who asks to have an answer in time, whichever.
func (c *scene) answers(t testing.TB) {
	t.Helper()
	var all sync.WaitGroup
	for i, g := range c.alive() {
		fresh, used := c.person(t).transfer(), c.used[i%len(c.used)]
		fresh.probe = true
		c.later = append(c.later, fresh)
		all.Go(func() {
			for _, a := range []*act{fresh, used} {
				got := a.ask(g, "Prefer: respond-async")
				switch got.state {
				case "unavailable", "pending", "spent":
				default:
					t.Errorf("%s: answer is %v", a.path, got)
				}
				c.noteRefusal(t, a, got)
			}
		})
	}
	c.untouched(t)
	all.Wait()
}
