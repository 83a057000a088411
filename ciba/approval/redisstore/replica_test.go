package redisstore_test

import (
	"strings"
	"testing"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
)

// A replica that lags says that an approval is good which has been used. Nobody
// asks it.
func TestStore_neverAsksAReplica(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) (o redisstore.Options, servers []*redistest.Server, replicas int){
		"Sentinel": func(t *testing.T) (redisstore.Options, []*redistest.Server, int) {
			s := redistest.StartSentinel(t, 2)
			return redisstore.Options{URLs: s.URLs(), MasterName: redistest.MasterName}, s.Servers, 2
		},
		"Cluster": func(t *testing.T) (redisstore.Options, []*redistest.Server, int) {
			c := redistest.StartCluster(t, 1)
			return redisstore.Options{URLs: c.URLs()}, c.Nodes, 3
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, servers, replicas := open(t)
			primaries, lagging := servers[:len(servers)-replicas], servers[len(servers)-replicas:]
			s, ctx := openLive(t, o), t.Context()
			ref := newRef()
			create(t, s, ref)
			for _, e := range []approval.Event{approval.EventStarted, approval.EventApprove} {
				change(t, s, ref, e)
			}
			for _, p := range primaries {
				replicated(t, p, replicas/len(primaries))
			}
			for _, r := range lagging { // which cannot sign in at its primary any more
				c := r.Client(t)
				for _, args := range [][]any{
					{"config", "set", "masteruser", "nobody", "masterauth", "nothing"}, {"client", "kill", "type", "master"},
				} {
					if err := c.Do(ctx, args...).Err(); err != nil {
						t.Fatal(err)
					}
				}
			}

			for n := range 20 {
				op := string(rune('a' + n))
				_, spent, err := s.Spend(ctx, ref.Owner, ref.Key, op, 0)
				if err != nil || spent != (n == 0) {
					t.Errorf("Spend %d: spent %t, error %v", n, spent, err)
				}
				if err := getter(t, s, ref, approval.Spent)(); err != nil {
					t.Error(err)
				}
				if r, err := s.Touch(ctx, ref.Owner, ref.Key, 0); err != nil || r.State != approval.Spent {
					t.Errorf("Touch: state %s, error %v", r.State, err)
				}
			}
			approved := 0
			for _, r := range lagging {
				c := r.Client(t)
				if strings.Contains(c.Info(ctx, "commandstats").Val(), "cmdstat_eval") {
					t.Error("a replica was asked")
				}
				// It would have answered, and wrongly.
				conn := c.Conn()
				if o.MasterName == "" {
					if err := conn.ReadOnly(ctx).Err(); err != nil {
						t.Fatal(err)
					}
				}
				key := "stepup:record:{" + ref.Owner.String() + "}" + ref.Key.String()
				if strings.Contains(conn.HGet(ctx, key, "s").Val(), string(approval.Approved)) {
					approved++
				}
				conn.Close()
			}
			if approved == 0 {
				t.Error("no replica lags")
			}
		})
	}
}
