package redistest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
)

// set and get are how the tests tell what data a server has, and its replicas.
func set(t *testing.T, s *redistest.Server, value string, replicas int) {
	t.Helper()
	c := s.Client(t).Conn()
	defer c.Close()
	if err := c.Set(t.Context(), "key", value, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Wait(t.Context(), replicas, 4*time.Second).Result(); err != nil || int(n) < replicas {
		t.Fatalf("%d replicas know, error %v", n, err)
	}
}

func get(t *testing.T, s *redistest.Server) string {
	t.Helper()
	value, err := s.Client(t).Get(t.Context(), "key").Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return value
}

func TestServer_restartsWithWhatItHasOnDisk(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args []string
		save bool
		want string
	}{
		"nothing":         {nil, false, ""},
		"a snapshot":      {nil, true, "old"},
		"all it was told": {[]string{"--appendonly", "yes", "--appendfsync", "always"}, false, "new"},
	} {
		t.Run(name, func(t *testing.T) {
			s := redistest.Start(t, test.args...)
			set(t, s, "old", 0)
			if test.save {
				s.Save(t)
			}
			set(t, s, "new", 0)
			s.Stop()
			s.Restart(t)
			if got := get(t, s); got != test.want {
				t.Errorf("it has %q; want %q", got, test.want)
			}
		})
	}
}

func TestSentinel_failsOver(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*redistest.Server){
		"killed": (*redistest.Server).Stop,
		"paused": func(s *redistest.Server) { s.Pause(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.NewCertificates(t).StartSentinel(t, 1)
			set(t, s.Servers[0], "value", 1)
			end(s.Servers[0])
			if to := s.Failover(t, s.Servers[0]); to != s.Servers[1] || get(t, to) != "value" {
				t.Error("the replica is not the primary now, with the data")
			}
		})
	}
}

func TestCluster_movesSlotsAndFailsOver(t *testing.T) {
	t.Parallel()
	c := redistest.NewCertificates(t).StartCluster(t, 1)
	first := c.Owner(t, "key")
	set(t, first, "value", 1)
	c.MoveSlot(t, "key", func() {
		if c.Owner(t, "key") != first {
			t.Error("the slot has moved too early")
		}
	})
	second := c.Owner(t, "key")
	if second == first || get(t, second) != "value" {
		t.Error("the slot has not moved with its key")
	}
	c.Kill(t, "key")
	if third := c.Owner(t, "key"); third == second || get(t, third) != "value" {
		t.Error("the replica has not taken over")
	}
}
