package redistest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// slots is how many hash slots a Cluster has, primaries how many servers share
// them.
const (
	slots     = 16384
	primaries = 3
)

// Cluster is a Redis Cluster. Its nodes take one that is silent for a second
// for dead.
type Cluster struct {
	// Nodes are the three primaries, and then their replicas, if there are any.
	Nodes []*Server
}

// StartCluster runs a Redis Cluster of three primaries, each with so many
// replicas. Arguments are added to the nodes' command lines.
func StartCluster(t testing.TB, replicas int, args ...string) *Cluster {
	t.Helper()
	return (*Certificates)(nil).StartCluster(t, replicas, args...)
}

// StartCluster is [StartCluster] with TLS, also between the nodes.
func (c *Certificates) StartCluster(t testing.TB, replicas int, args ...string) *Cluster {
	t.Helper()
	cluster := new(Cluster)
	var first []any // how to meet the first node
	for i := range primaries * (1 + replicas) {
		bus := freePort(t)
		node := c.Start(t, append([]string{
			"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus), "--cluster-node-timeout", "1000",
			"--repl-diskless-sync-delay", "0",
		}, args...)...)
		cluster.Nodes = append(cluster.Nodes, node)
		client := node.control
		do(t, client, "cluster", "set-config-epoch", i+1)
		if i < primaries {
			do(t, client, "cluster", "addslotsrange", slots*i/primaries, slots*(i+1)/primaries-1)
		}
		if i == 0 {
			first = []any{"cluster", "meet", "127.0.0.1", node.port, bus}
		} else {
			do(t, client, first...)
		}
	}
	for i, node := range cluster.Nodes[primaries:] {
		id := cluster.Nodes[i%primaries].id(t)
		await(t, "the nodes to meet", func(ctx context.Context) error {
			return node.control.ClusterReplicate(ctx, id).Err()
		})
		node.awaitReplication(t)
	}
	cluster.await(t, len(cluster.Nodes))
	return cluster
}

// URLs are those of the nodes.
func (c *Cluster) URLs() []string { return urls(c.Nodes) }

// Owner returns the primary of the slot of a key.
func (c *Cluster) Owner(t testing.TB, key string) *Server {
	t.Helper()
	var owner *Server
	await(t, "the slot to have an owner", func(ctx context.Context) error {
		var err error
		owner, err = c.owner(ctx, c.slot(t, key))
		return err
	})
	return owner
}

// MoveSlot gives the slot of a key, with all its keys, to another primary. It
// calls during in the middle: when the keys have moved, and the old owner still
// answers for the slot.
func (c *Cluster) MoveSlot(t testing.TB, key string, during func()) {
	t.Helper()
	slot, from := c.slot(t, key), c.Owner(t, key)
	to := c.Nodes[0]
	if to == from {
		to = c.Nodes[1]
	}
	old, next := from.control, to.control
	do(t, next, "cluster", "setslot", slot, "importing", from.id(t))
	do(t, old, "cluster", "setslot", slot, "migrating", to.id(t))
	await(t, "the keys to move", func(ctx context.Context) error {
		keys, err := old.ClusterGetKeysInSlot(ctx, slot, 1000).Result()
		if err != nil || len(keys) == 0 {
			return err
		}
		args := []any{"migrate", "127.0.0.1", to.port, "", 0, patience.Milliseconds(), "keys"}
		for _, key := range keys {
			args = append(args, key)
		}
		if err := old.Do(ctx, args...).Err(); err != nil {
			return err
		}
		return errors.New("there may be more")
	})
	during()
	for _, client := range []*redis.Client{next, old} {
		do(t, client, "cluster", "setslot", slot, "node", to.id(t))
	}
}

// Kill stops the primary of the slot of a key, and waits until a replica has
// taken over.
func (c *Cluster) Kill(t testing.TB, key string) {
	t.Helper()
	old, slot := c.Owner(t, key), c.slot(t, key)
	old.Stop()
	await(t, "a replica to take over", func(ctx context.Context) error {
		owner, err := c.owner(ctx, slot)
		if err == nil && owner == old {
			err = errors.New("the old one has not been given up yet")
		}
		return err
	})
	c.await(t, len(c.Nodes))
}

// await waits until all nodes that run are content and know of so many.
func (c *Cluster) await(t testing.TB, nodes int) {
	t.Helper()
	for _, node := range c.Nodes {
		if node.ended() {
			continue
		}
		await(t, "the cluster", func(ctx context.Context) error {
			info, err := node.control.ClusterInfo(ctx).Result()
			if err != nil {
				return err
			}
			for _, want := range []string{
				"cluster_state:ok", "cluster_slots_ok:16384", "cluster_size:3", "cluster_known_nodes:" + strconv.Itoa(nodes),
			} {
				if !strings.Contains(info, want) {
					return fmt.Errorf("%s is not there yet", want)
				}
			}
			return nil
		})
	}
}

// owner returns the primary of a slot, if the nodes that run agree on it.
func (c *Cluster) owner(ctx context.Context, slot int) (*Server, error) {
	var owner *Server
	for _, node := range c.Nodes {
		if node.ended() || node.paused {
			continue
		}
		ranges, err := node.control.ClusterSlots(ctx).Result()
		if err != nil {
			return nil, err
		}
		for _, r := range ranges {
			if slot < r.Start || slot > r.End {
				continue
			}
			says := find(c.Nodes, r.Nodes[0].Addr)
			if says == nil || owner != nil && says != owner {
				return nil, errors.New("the nodes do not agree on it")
			}
			owner = says
		}
	}
	if owner == nil {
		return nil, errors.New("it has none")
	}
	return owner, nil
}

// slot is that of a key.
func (c *Cluster) slot(t testing.TB, key string) int {
	t.Helper()
	for _, node := range c.Nodes {
		if node.ended() || node.paused {
			continue
		}
		slot, err := node.control.ClusterKeySlot(context.Background(), key).Result()
		if err != nil {
			t.Fatalf("asking for a slot: %v", err)
		}
		return int(slot)
	}
	t.Fatal("no node runs")
	return 0
}

// id is what the nodes call this one.
func (s *Server) id(t testing.TB) string {
	t.Helper()
	id, err := s.control.ClusterMyID(context.Background()).Result()
	if err != nil {
		t.Fatalf("asking for the ID of a node: %v", err)
	}
	return id
}
