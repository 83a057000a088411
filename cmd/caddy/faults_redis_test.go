package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

// TestFaults_redis has all faults of Redis at the same time, each at a site of
// its own: most of it is waiting.
func TestFaults_redis(t *testing.T) {
	t.Parallel()
	together(t, map[string]func(*testing.T){
		"restarts":                        redisRestarts,
		"restarts without data":           redisRestartsWithoutData,
		"restarts from an older snapshot": redisRestartsFromAnOlderSnapshot,
		"paused":                          redisPaused,
		"full":                            redisFull,
		"away for longer than a lease":    redisAwayForLongerThanALease,
		"line cut in mid-script":          redisLineCutInMidScript,
		"Sentinel fails over":             redisSentinelFailsOver,
		"Cluster fails over":              redisClusterFailsOver,
		"Cluster moves slots":             redisClusterMovesSlots,
	})
}

// durable is a Redis that loses nothing that it has answered for.
var durable = []string{"--appendonly", "yes", "--appendfsync", "always"}

// redisRestarts kills Redis and starts it again with all it had.
// Meanwhile, people say yes.
func redisRestarts(t *testing.T) {
	server := redistest.Start(t, durable...)
	s := newSite(t, siteConfig{Store: "redis " + server.URL})
	c := newScene(t, s, 3)
	server.Stop()
	c.someSayYes()
	c.refused(t)
	server.Restart(t)
	c.goesOn(t, "Redis killed and restarted with its data", time.Now())
}

// redisRestartsWithoutData kills Redis and starts it again empty.
// Nothing passes for what it had known; everybody may ask again.
func redisRestartsWithoutData(t *testing.T) {
	server := redistest.Start(t)
	s := newSite(t, siteConfig{Store: "redis " + server.URL})
	c := newScene(t, s, 3)
	server.Stop()
	c.someSayYes()
	c.refused(t)
	before := len(s.upstream.all())
	server.Restart(t)
	over := time.Now()
	for _, a := range c.acts {
		if got := <-c.waits[a]; got.state != "none" {
			t.Errorf("%s: answer is %v %s, want none", a.id, got, got.body)
		}
	}
	heard := time.Since(over)
	y := tallyOf(c.acts...)
	normal := s.normal(t, over)
	y.state(t, "Redis killed and restarted without its data", normal)
	t.Logf("refusals came after %v at most; all who waited had been told after %v", c.slow, heard)

	// All of it is asked for again, what was used as well, and a form has to be
	// filled in again.
	again := slices.Concat(c.acts, c.known, c.ready, c.used)
	for _, a := range again {
		a.mu.Lock()
		a.wills++
		a.mu.Unlock()
		a.handle = ""
		for _, g := range s.gateways {
			a.challenge(g)
		}
	}
	if n := len(s.upstream.all()); n != before+len(s.gateways) {
		t.Errorf("%d requests have passed on approvals that were lost", n-before-len(s.gateways))
	}
	c.acts = again
	defer c.sayYes()()
	c.finish()
	c.finishLater(t)
	if y := s.check(t, 0); y.acts != y.passed {
		t.Errorf("%v, want all to pass when they have asked again", y)
	}
}

// redisRestartsFromAnOlderSnapshot kills Redis and starts it again with what it
// had some time ago. What was used or called off since must not be good again.
func redisRestartsFromAnOlderSnapshot(t *testing.T) {
	server := redistest.Start(t)
	s := newSite(t, siteConfig{Store: "redis " + server.URL})
	first, last := s.gateways[0], s.gateways[1]
	c := newScene(t, s, 2)
	revoked := s.person(t).accounts()
	found := pageHandle.FindStringSubmatch(revoked.ask(first, browser...).body)
	if found == nil {
		t.Fatal("no waiting page")
	}
	revoked.approve()
	revoked.awaitApproved(last)
	server.Save(t)

	for _, a := range c.ready {
		a.mustPass(a.ask(last))
	}
	answered, open := c.acts[:len(c.acts)/2], c.acts[len(c.acts)/2:]
	c.someSayYes()
	for _, a := range answered {
		if got := <-c.waits[a]; !got.passed() {
			a.mustPass(a.finish(first))
		}
	}
	if got := revoked.do(t.Context(), first, http.MethodPost, "step_up=cancel&step_up_approval="+found[1]); got.state != "cancelled" {
		t.Fatalf("calling off: answer is %v %s", got, got.body)
	}
	forgotten := s.crowd(t, 1)
	server.Stop()
	server.Restart(t)
	over := time.Now()

	// Each is tried at both gateways.
	refuses := func(a *act, states ...string) {
		for _, g := range s.gateways {
			if got := a.ask(g, "Prefer: respond-async"); !slices.Contains(states, got.state) {
				t.Errorf("%s: answer is %v, want it to be %v", a.path, got, states)
			}
		}
	}
	normal := s.normal(t, over)
	for _, a := range slices.Concat(c.ready, c.used) {
		refuses(a, "spent")
	}
	for _, a := range answered {
		// Their answers were collected since, and do not come again.
		a.finish(last)
		refuses(a, "failed")
		if !a.remembered {
			a.passedOnce()
		}
	}
	refuses(revoked, "cancelled")
	for _, a := range c.known {
		for _, g := range s.gateways {
			a.mustPass(a.ask(g))
		}
	}
	for _, a := range forgotten.acts {
		got := answer{}
		if held, ok := forgotten.held[a]; ok {
			got = <-held
		} else {
			got = a.status(t.Context(), last, 5)
		}
		if got.state != "none" {
			t.Errorf("%s: answer is %v, want none", a.path, got)
		}
	}
	for _, a := range open {
		a.approveWaiting()
		if got := <-c.waits[a]; !got.passed() {
			a.mustPass(a.finish(last))
		}
	}
	s.check(t, len(answered))
	tallyOf(slices.Concat(open, forgotten.acts)...).state(t, "Redis set back to an older snapshot", normal)
	t.Logf("what was used stays used, and the answers to %d that were collected since are lost", len(answered))
}

// redisPaused has Redis not answer for ten seconds.
func redisPaused(t *testing.T) {
	server := redistest.Start(t)
	s := newSite(t, siteConfig{Store: "redis " + server.URL})
	c := newScene(t, s, 3)
	server.Pause(t)
	resume := time.NewTimer(10 * time.Second)
	defer resume.Stop()
	c.someSayYes()
	c.spoilt, c.ready = c.ready[:1], c.ready[1:]
	c.refusedBy(t, s.gateways[0], c.spoilt[0])
	for waiting := true; waiting; {
		c.refused(t)
		select {
		case <-resume.C:
			waiting = false
		default:
		}
	}
	server.Resume(t)
	c.goesOn(t, "Redis paused for 10 s", time.Now())
}

// redisFull has Redis take no more data.
func redisFull(t *testing.T) {
	server := redistest.Start(t) // its maxmemory-policy is noeviction
	s := newSite(t, siteConfig{Store: "redis " + server.URL})
	c := newScene(t, s, 3)
	room(t, server, "1")
	c.someSayYes()
	for _, g := range s.gateways {
		fresh := s.person(t).transfer()
		fresh.probe = true
		c.later = append(c.later, fresh)
		c.refusedBy(t, g, fresh, c.ready[0])
		for _, a := range c.known { // they need no room
			a.mustPass(a.ask(g))
		}
		c.used[0].mustBeSpent(c.used[0].ask(g))
	}
	c.untouched(t)
	// Claiming takes room as well: what could not be recorded is not collected.
	eventually(t, "the gateways to say so", func() bool {
		for _, g := range s.gateways {
			if !strings.Contains(g.logged(), "claiming polls: answers wait until the approval store is back") {
				return false
			}
		}
		return true
	})
	room(t, server, "0")
	c.goesOn(t, "Redis full", time.Now())
}

// redisAwayForLongerThanALease has Redis go away while answers are
// on their way from the broker. They come once, and are kept until Redis takes
// them, also when that is later than another gateway may look after them.
func redisAwayForLongerThanALease(t *testing.T) {
	tests := make(map[string]func(*testing.T))
	for name, fault := range map[string]func(*testing.T, *redistest.Server) (mend func()){
		"killed": func(t *testing.T, server *redistest.Server) func() {
			server.Stop()
			return func() { server.Restart(t) }
		},
		"paused": func(t *testing.T, server *redistest.Server) func() {
			server.Pause(t)
			return func() { server.Resume(t) }
		},
		"full": func(t *testing.T, server *redistest.Server) func() {
			room(t, server, "1")
			return func() { room(t, server, "0") }
		},
	} {
		tests[name] = func(t *testing.T) {
			server := redistest.Start(t, durable...)
			s := newSite(t, siteConfig{Store: "redis " + server.URL})
			c := s.gather(t, ways{held: 6}, s.gateways...)
			remove := s.broker.Inject(cibatest.Fault{Endpoint: cibatest.EndpointToken, Latency: 2 * interval, After: true})
			s.broker.approveWaiting(t)
			eventually(t, "the broker to give its answers", func() bool {
				return !slices.ContainsFunc(s.broker.Requests(), func(q cibatest.Request) bool { return q.State != cibatest.StateCollected })
			})
			mend := fault(t, server)
			away := time.NewTimer(leaseTime + 3*time.Second)
			defer away.Stop()
			<-away.C
			remove()
			mend()
			over := time.Now()
			for a, got := range c.heldAnswers() {
				a.mustPass(got)
			}
			s.check(t, len(c.acts)).state(t, "Redis "+name+" for 18 s with answers on their way", time.Since(over))
		}
	}
	together(t, tests)
}

// leaseTime is how long a gateway has an approval for itself.
const leaseTime = 15 * time.Second

// room is how many bytes Redis may have; 0 is no limit.
func room(t *testing.T, server *redistest.Server, bytes string) {
	t.Helper()
	if err := server.Client(t).ConfigSet(t.Context(), "maxmemory", bytes).Err(); err != nil {
		t.Fatal(err)
	}
}
