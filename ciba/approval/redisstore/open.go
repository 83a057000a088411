package redisstore

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Options say which Redis to use.
type Options struct {
	// URLs are of the form redis://[user:password@]host[:port][/database], or
	// rediss:// for TLS. One is a single server, several are the first nodes
	// to ask in a Cluster. With MasterName they are Sentinels. They agree in
	// everything but the host; query parameters are not supported.
	URLs []string

	// Cluster says that a single URL is one of a Redis Cluster.
	Cluster bool

	// MasterName is the name under which the Sentinels know the primary.
	MasterName string

	// SentinelUsername and SentinelPassword are for the Sentinels themselves;
	// what is in the URLs is never sent to them.
	SentinelUsername, SentinelPassword string

	// Authorities are the certificates, in PEM form, of those that may vouch
	// for the servers of rediss:// URLs, Sentinels among them. Nil stands for
	// the system's.
	Authorities []byte

	// CertFile and KeyFile have the certificate that is shown to servers of
	// rediss:// URLs, and its key, in PEM form. They are read again for each
	// connection, so that a certificate can be replaced before it expires.
	CertFile, KeyFile string

	// Prefix and Timeout are those of [Config].
	Prefix  string
	Timeout time.Duration
}

// Open returns a store with a client of its own. It does not connect: the
// first call does. Its errors do not repeat the URLs, which may contain a
// password.
func Open(o Options) (*Store, error) {
	u, err := o.universal()
	if err != nil {
		return nil, err
	}
	// go-redis writes trouble to the standard error by itself, line by line for
	// every attempt; it comes back as errors as well, and those are logged.
	logging.Disable()
	client := newClient(u)
	s, err := New(Config{Client: client, Prefix: o.Prefix, Timeout: o.Timeout})
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	s.owned = true
	s.alone = u.MasterName == "" && !isCluster(client)
	return s, nil
}

// reloadTime is how long a client of a Cluster goes by what it knows of it.
// go-redis learns of slots that have moved from their old owners; of those
// whose owner has died it would hear after a minute.
const reloadTime = time.Second

// newClient makes the client that options are for.
func newClient(u *redis.UniversalOptions) redis.UniversalClient {
	if u.MasterName == "" && (u.IsClusterMode || len(u.Addrs) > 1) {
		c := u.Cluster()
		c.ClusterStateReloadInterval = reloadTime
		// A node that does not let itself be reached is not waited for: there
		// are others to ask who has its slots now.
		c.DialerRetries = 1
		return redis.NewClusterClient(c)
	}
	return redis.NewUniversalClient(u)
}

func isCluster(client redis.UniversalClient) bool {
	_, is := client.(*redis.ClusterClient)
	return is
}

// universal translates the options for go-redis.
func (o Options) universal() (*redis.UniversalOptions, error) {
	if len(o.URLs) == 0 {
		return nil, errors.New("a URL of Redis is required")
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Cluster && o.MasterName != "" {
		return nil, errors.New("a Redis Cluster has no Sentinels: set either Cluster or MasterName")
	}
	u := &redis.UniversalOptions{
		SentinelUsername: o.SentinelUsername,
		SentinelPassword: o.SentinelPassword,
		MasterName:       o.MasterName,
		IsClusterMode:    o.Cluster,

		// Without it, go-redis does not look at deadlines. The timeouts bound
		// what it does in the background.
		ContextTimeoutEnabled: true,
		DialTimeout:           o.Timeout,
		ReadTimeout:           o.Timeout,
		// Both send commands on connecting that Redis before 7.2 refuses.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	var first *redis.Options
	for i, raw := range o.URLs {
		one, err := parse(raw)
		if err != nil {
			return nil, fmt.Errorf("parsing URL %d of Redis: %w", i+1, err)
		}
		u.Addrs = append(u.Addrs, one.Addr)
		if first == nil {
			first = one
			continue
		}
		if one.Username != first.Username || one.Password != first.Password ||
			one.DB != first.DB || (one.TLSConfig == nil) != (first.TLSConfig == nil) {
			return nil, errors.New("the URLs of Redis must agree in everything but the host")
		}
	}
	u.DB = first.DB
	u.Username, u.Password = first.Username, first.Password
	if u.DB != 0 && u.MasterName == "" && (u.IsClusterMode || len(u.Addrs) > 1) {
		return nil, errors.New("a Redis Cluster has no databases: leave the number out of the URL")
	}
	if first.TLSConfig == nil {
		if o.Authorities != nil || o.CertFile != "" || o.KeyFile != "" {
			return nil, errors.New("certificates for Redis are for TLS: write rediss:// in its URLs")
		}
		return u, nil
	}
	config, err := o.tls()
	if err != nil {
		return nil, err
	}
	u.TLSConfig = config
	return u, nil
}

// parse reads a URL. The errors of package url and of go-redis quote it, and
// with it parts of the password, so they go no further.
func parse(raw string) (*redis.Options, error) {
	errForm := errors.New("it must read redis://[user:password@]host[:port][/database], or rediss:// for TLS, " +
		"with special characters in the password percent-encoded")
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "redis" && u.Scheme != "rediss") {
		return nil, errForm
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("parameters in the URL are not supported")
	}
	one, err := redis.ParseURL(raw)
	if err != nil || one.DB < 0 {
		return nil, errForm
	}
	return one, nil
}
