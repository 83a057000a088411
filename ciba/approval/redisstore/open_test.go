package redisstore_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/caddy-stepup/stepup/ciba/approval/redisstore"
)

func TestOpen_refusesWhatItCannotMean(t *testing.T) {
	const secret = "hunter2"
	for name, o := range map[string]redisstore.Options{
		"no URL":                  {},
		"empty URL":               {URLs: []string{""}},
		"no scheme":               {URLs: []string{"user:" + secret + "@host:6379"}},
		"other scheme":            {URLs: []string{"https://user:" + secret + "@host"}},
		"unix socket":             {URLs: []string{"unix://user:" + secret + "@/tmp/redis.sock"}},
		"no host":                 {URLs: []string{"redis:///1"}},
		"slash in the password":   {URLs: []string{"redis://user:" + secret + "/x@host:6379"}},
		"space in the password":   {URLs: []string{"redis://user:" + secret + " x@host:6379"}},
		"hash in the password":    {URLs: []string{"redis://user:" + secret + "#x@host:6379"}},
		"percent in the password": {URLs: []string{"redis://user:" + secret + "%zz@host:6379"}},
		"bad port":                {URLs: []string{"redis://user:" + secret + "@host:port"}},
		"bad database":            {URLs: []string{"redis://user:" + secret + "@host/one"}},
		"negative database":       {URLs: []string{"redis://user:" + secret + "@host/-1"}},
		"long path":               {URLs: []string{"redis://user:" + secret + "@host/1/2"}},
		"parameters":              {URLs: []string{"redis://user:" + secret + "@host?password=" + secret}},
		"fragment":                {URLs: []string{"redis://user:" + secret + "@host/1#x"}},
		"second URL bad":          {URLs: []string{"redis://host", "user:" + secret + "@host"}},
		"different passwords":     {URLs: []string{"redis://:a" + secret + "@one", "redis://:b" + secret + "@two"}},
		"different users":         {URLs: []string{"redis://a:" + secret + "@one", "redis://b:" + secret + "@two"}},
		"TLS on some":             {URLs: []string{"redis://one", "rediss://two"}},
		"different databases":     {URLs: []string{"redis://one/1", "redis://two/2"}, MasterName: "main"},
		"databases in a cluster":  {URLs: []string{"redis://one/1"}, Cluster: true},
		"databases of several":    {URLs: []string{"redis://one/1", "redis://two/1"}},
		"cluster with sentinels":  {URLs: []string{"redis://one"}, Cluster: true, MasterName: "main"},
		"braces in the prefix":    {URLs: []string{"redis://one"}, Prefix: "a{b}"},
		"negative timeout":        {URLs: []string{"redis://one"}, Timeout: -1},
		"an authority, no TLS":    {URLs: []string{"redis://one"}, Authorities: []byte("x")},
		"a certificate, no TLS":   {URLs: []string{"redis://one"}, CertFile: "cert.pem", KeyFile: "key.pem"},
		"no authority in it":      {URLs: []string{"rediss://one"}, Authorities: []byte{}},
		"no certificate there":    {URLs: []string{"rediss://one"}, CertFile: "cert.pem", KeyFile: "key.pem"},
		"a certificate alone":     {URLs: []string{"rediss://one"}, CertFile: "cert.pem"},
		"a key alone":             {URLs: []string{"rediss://one"}, KeyFile: "key.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := redisstore.Open(o)
			if err == nil {
				_ = s.Close()
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), secret) {
				t.Error("the error contains the password")
			}
		})
	}
}

func TestOpen_translatesItsOptions(t *testing.T) {
	for _, test := range []struct {
		name                    string
		o                       redisstore.Options
		addrs, user, pass, kind string
		db                      int
		tls                     bool
	}{
		{
			"one server", redisstore.Options{URLs: []string{"redis://u:p%2Fq@host:1234/5"}},
			"host:1234", "u", "p/q", "*redis.Client", 5, false,
		},
		{
			"the default port", redisstore.Options{URLs: []string{"redis://host"}},
			"host:6379", "", "", "*redis.Client", 0, false,
		},
		{
			"TLS", redisstore.Options{URLs: []string{"rediss://u:p@host"}},
			"host:6379", "u", "p", "*redis.Client", 0, true,
		},
		{
			"a password without a user", redisstore.Options{URLs: []string{"redis://:p@host"}},
			"host:6379", "", "p", "*redis.Client", 0, false,
		},
		{
			"cluster", redisstore.Options{URLs: []string{"rediss://:p@one", "rediss://:p@two:1"}},
			"one:6379 two:1", "", "p", "*redis.ClusterClient", 0, true,
		},
		{
			"cluster by one node", redisstore.Options{URLs: []string{"redis://one"}, Cluster: true},
			"one:6379", "", "", "*redis.ClusterClient", 0, false,
		},
		{
			"sentinel", redisstore.Options{
				URLs: []string{"redis://u:p@one:26379/3", "redis://u:p@two:26379/3"}, MasterName: "main",
				SentinelUsername: "su", SentinelPassword: "sp",
			},
			"one:26379 two:26379", "u", "p", "*redis.Client", 3, false,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			u, err := test.o.Universal()
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(u.Addrs, " "); got != test.addrs {
				t.Errorf("addresses %s; want %s", got, test.addrs)
			}
			if u.Username != test.user || u.Password != test.pass || u.DB != test.db {
				t.Errorf("user %q, password %q, database %d", u.Username, u.Password, u.DB)
			}
			if u.SentinelUsername != test.o.SentinelUsername || u.SentinelPassword != test.o.SentinelPassword ||
				u.MasterName != test.o.MasterName {
				t.Error("what is for Sentinel got lost")
			}
			if (u.TLSConfig != nil) != test.tls {
				t.Errorf("TLS %t; want %t", u.TLSConfig != nil, test.tls)
			}
			if u.TLSConfig != nil && (u.TLSConfig.InsecureSkipVerify || u.TLSConfig.ServerName != "") {
				t.Error("not every host's certificate is checked against its own name")
			}
			if u.ReadOnly || u.RouteByLatency || u.RouteRandomly {
				t.Error("decisions are read from replicas")
			}
			if !u.ContextTimeoutEnabled || !u.DisableIdentity ||
				u.MaintNotificationsConfig.Mode != maintnotifications.ModeDisabled {
				t.Error("a setting of go-redis is missing")
			}
			client := redis.NewUniversalClient(u)
			defer client.Close()
			if got := typeName(client); got != test.kind {
				t.Errorf("client %s; want %s", got, test.kind)
			}
		})
	}
}

func typeName(c redis.UniversalClient) string {
	switch c.(type) {
	case *redis.Client:
		return "*redis.Client"
	case *redis.ClusterClient:
		return "*redis.ClusterClient"
	}
	return "another"
}

// Caddy validates a configuration without the network.
func TestOpen_worksOffline(t *testing.T) {
	for _, o := range []redisstore.Options{
		{URLs: []string{"redis://127.0.0.1:1"}},
		{URLs: []string{"redis://127.0.0.1:1", "redis://127.0.0.1:2"}},
		{URLs: []string{"redis://127.0.0.1:1"}, MasterName: "main"},
	} {
		begun := time.Now()
		s, err := redisstore.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("Open and Close took %v", took)
		}
	}
}

func TestNew_refusesWhatItCannotMean(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	for name, c := range map[string]redisstore.Config{
		"no client":            {},
		"braces in the prefix": {Client: client, Prefix: "{x}"},
		"negative timeout":     {Client: client, Timeout: -time.Second},
	} {
		if _, err := redisstore.New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
