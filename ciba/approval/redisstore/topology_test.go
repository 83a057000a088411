package redisstore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
	"github.com/caddy-stepup/stepup/ciba/approval/storetest"
)

// What a user of Redis must be allowed, and nothing else.
const (
	rules = "~stepup:* &stepup:* -@all +eval +evalsha +time +get +set +del +hget +hmget +hset +hdel " +
		"+pexpireat +pttl +zadd +zrem +zrange +zrangebyscore +publish +subscribe"
	databaseRules = " +select"
	clusterRules  = " +cluster|slots +command +asking"
	sentinelRules = "&+switch-master &+replica-reconf-done -@all +subscribe +ping " +
		"+sentinel|get-master-addr-by-name +sentinel|sentinels"
)

// allow makes a user of every server, whose password is "pass word".
func allow(t *testing.T, servers []*redistest.Server, name, rules string) {
	t.Helper()
	args := []any{"acl", "setuser", name, "reset", "on", ">pass word"}
	for rule := range strings.FieldsSeq(rules) {
		args = append(args, rule)
	}
	for _, s := range servers {
		if err := s.Client(t).Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// as adds the user, and what may follow the host, to URLs.
func as(urls []string, path string) []string {
	var all []string
	for _, u := range urls {
		all = append(all, strings.Replace(u, "://", "://stepup:pass%20word@", 1)+path)
	}
	return all
}

// clients are those of the servers, all powerful.
func clients(t *testing.T, servers []*redistest.Server) []*redis.Client {
	t.Helper()
	var all []*redis.Client
	for _, s := range servers {
		all = append(all, s.Client(t))
	}
	return all
}

// trust has the options say whom to trust, and who we are.
func trust(c *redistest.Certificates, o redisstore.Options) redisstore.Options {
	o.Authorities, o.CertFile, o.KeyFile = c.Authorities, c.CertFile, c.KeyFile
	return o
}

func TestStore_onRedis(t *testing.T) {
	certs := redistest.NewCertificates(t)
	server := certs.Start(t)
	allow(t, []*redistest.Server{server}, "stepup", strings.ReplaceAll(rules, "stepup:", "other:")+databaseRules)
	o := trust(certs, redisstore.Options{URLs: as([]string{server.URL}, "/5"), Prefix: "other:"})
	c := server.Client(t)
	storetest.Run(t, func(t *testing.T) storetest.Harness { return realHarness(t, o, c) })

	create(t, open(t, o), newRef())
	if n, err := c.DBSize(t.Context()).Result(); err != nil || n > 0 {
		t.Errorf("%d keys in another database, error %v", n, err)
	}
}

func TestStore_onSentinel(t *testing.T) {
	t.Parallel()
	certs := redistest.NewCertificates(t)
	sentinel := certs.StartSentinel(t, 1)
	allow(t, sentinel.Servers, "stepup", rules)
	allow(t, sentinel.Sentinels, "watch", sentinelRules)
	for _, c := range clients(t, sentinel.Sentinels) { // what is not allowed must show
		if err := c.Do(t.Context(), "acl", "setuser", "default", "-@all", "+acl").Err(); err != nil {
			t.Fatal(err)
		}
	}
	o := trust(certs, redisstore.Options{
		URLs: as(sentinel.URLs(), ""), MasterName: redistest.MasterName,
		SentinelUsername: "watch", SentinelPassword: "pass word",
	})
	if err := tour(t, open(t, o)); err != nil {
		t.Error(err)
	}
}

func TestRules_areThoseOfTheDocumentation(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"ACL SETUSER stepup on >password " + rules + "\n",
		"With a database number add `" + strings.TrimSpace(databaseRules) + "`; in a Cluster `" + strings.TrimSpace(clusterRules) + "`.",
		"ACL SETUSER sentinel-user on >password " + sentinelRules + "\n",
	} {
		if !strings.Contains(string(document), text) {
			t.Errorf("docs/operations.md does not say %q", text)
		}
	}
}

// Every right that the documentation asks for is needed.
func TestRules_haveNothingTooMuch(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	cluster := redistest.StartCluster(t, 0)
	for _, test := range []struct {
		servers []*redistest.Server
		rules   string
		path    string
	}{
		{[]*redistest.Server{server}, rules + databaseRules, "/5"},
		{cluster.Nodes, rules + clusterRules, ""},
	} {
		for _, fewer := range append([]string{test.rules}, without(test.rules)...) {
			allow(t, test.servers, "stepup", fewer)
			var urls []string
			for _, s := range test.servers {
				c := s.Client(t)
				if err := errors.Join(c.FlushAll(t.Context()).Err(), c.ScriptFlush(t.Context()).Err()); err != nil {
					t.Fatal(err)
				}
				urls = append(urls, s.URL)
			}
			err := tour(t, open(t, redisstore.Options{URLs: as(urls, test.path)}))
			if (err == nil) != (fewer == test.rules) {
				t.Errorf("with %s: %v", fewer, err)
			}
		}
	}
}

// without are the rules, each time without another one of those that allow.
func without(rules string) []string {
	var all []string
	words := strings.Fields(rules)
	for i, word := range words {
		switch word {
		case "-@all":
		case "+asking": // while a slot moves
		case "+command": // or go-redis asks with each call, in vain
		default:
			all = append(all, strings.Join(slices.Delete(slices.Clone(words), i, i+1), " "))
		}
	}
	return all
}

// tour calls everything that a store can do, and returns the first error.
func tour(t *testing.T, s *redisstore.Store) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ref := newRef()
	change := func(e approval.Event) func() error {
		return func() error {
			_, err := s.Change(ctx, approval.Change{Ref: ref, Event: e, Op: rand.Text(), Lasts: time.Hour, Keep: time.Hour})
			return err
		}
	}
	var lease approval.Lease
	claim := func() error {
		leases, _, err := s.Claim(ctx, 10, time.Minute)
		if err == nil && len(leases) != 1 {
			err = fmt.Errorf("%d leases", len(leases))
		}
		if err == nil {
			lease = leases[0]
		}
		return err
	}
	listen := func() error {
		heard := errors.New("heard")
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		err := s.Listen(ctx, func(n approval.News) {
			if n.Gap {
				cancel(heard)
			}
		})
		if context.Cause(ctx) == heard {
			err = nil
		}
		return err
	}
	for _, step := range []struct {
		name string
		call func() error
	}{
		{"Create", func() error {
			_, _, err := s.Create(ctx, approval.New{Ref: ref, Lasts: time.Hour, Keep: time.Hour})
			return err
		}},
		{"Change", change(approval.EventStarted)},
		{"Touch", func() error { _, err := s.Touch(ctx, ref.Owner, ref.Key, time.Minute); return err }},
		{"Get", func() error { _, err := s.Get(ctx, ref.Owner, ref.Key); return err }},
		{"Park", func() error { return s.Park(ctx, ref, []byte("body")) }},
		{"Parked", func() error { _, err := s.Parked(ctx, ref); return err }},
		{"Unpark", func() error { return s.Unpark(ctx, ref) }},
		{"Schedule", func() error { return s.Schedule(ctx, ref, 0) }},
		{"Claim", claim},
		{"Extend", func() (err error) { lease, err = s.Extend(ctx, lease, time.Minute); return err }},
		{"Drop", func() error { return s.Drop(ctx, lease) }},
		{"Change", change(approval.EventApprove)},
		{"Spend", func() error { _, _, err := s.Spend(ctx, ref.Owner, ref.Key, "op", 0); return err }},
		{"Take", func() error { _, err := s.Take(ctx, ref.Owner, approval.Rate{Burst: 9, Per: time.Second}); return err }},
		{"Block", func() error { return s.Block(ctx, ref.Owner, approval.Penalty{First: 1, Longest: 1}) }},
		{"Listen", listen},
	} {
		if err := step.call(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func TestStore_onRedisCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster")
	}
	certs := redistest.NewCertificates(t)
	cluster := certs.StartCluster(t, 0)
	allow(t, cluster.Nodes, "stepup", rules+clusterRules)
	o := trust(certs, redisstore.Options{URLs: as(cluster.URLs(), "")})
	all := clients(t, cluster.Nodes)
	storetest.Run(t, func(t *testing.T) storetest.Harness { return realHarness(t, o, all...) })
}

// A server that nobody trusted vouches for gets no password.
func TestStore_trustsNobodyElse(t *testing.T) {
	t.Parallel()
	certs, others := redistest.NewCertificates(t), redistest.NewCertificates(t)
	server := certs.Start(t)
	stranger := trust(certs, redisstore.Options{})
	stranger.Authorities = others.Authorities
	anonymous := trust(certs, redisstore.Options{})
	anonymous.CertFile, anonymous.KeyFile = "", ""
	wrong := trust(certs, redisstore.Options{})
	wrong.CertFile, wrong.KeyFile = others.CertFile, others.KeyFile
	for name, test := range map[string]struct {
		o  redisstore.Options
		ok bool
	}{
		"both know each other":           {trust(certs, redisstore.Options{}), true},
		"the server's is another one":    {stranger, false},
		"the system's authorities":       {redisstore.Options{}, false},
		"the client shows none":          {anonymous, false},
		"the client's is of another one": {wrong, false},
	} {
		t.Run(name, func(t *testing.T) {
			test.o.URLs = []string{server.URL}
			_, _, err := open(t, test.o).Claim(t.Context(), 1, 0)
			if (err == nil) != test.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}
