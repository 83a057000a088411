package redisstore

import (
	"crypto/tls"
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

	// Username and Password are used where the URLs have none.
	Username, Password string

	// SentinelUsername and SentinelPassword are for the Sentinels themselves;
	// Username and Password are never sent to them.
	SentinelUsername, SentinelPassword string

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
	client := redis.NewUniversalClient(u)
	s, err := New(Config{Client: client, Prefix: o.Prefix, Timeout: o.Timeout})
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	s.owned = true
	return s, nil
}

// universal translates the options for go-redis.
func (o Options) universal() (*redis.UniversalOptions, error) {
	if len(o.URLs) == 0 {
		return nil, errors.New("a URL of Redis is required")
	}
	if o.Cluster && o.MasterName != "" {
		return nil, errors.New("a Redis Cluster has no Sentinels: set either Cluster or MasterName")
	}
	u := &redis.UniversalOptions{
		Username:         o.Username,
		Password:         o.Password,
		SentinelUsername: o.SentinelUsername,
		SentinelPassword: o.SentinelPassword,
		MasterName:       o.MasterName,
		IsClusterMode:    o.Cluster,

		// Without it, go-redis does not look at deadlines.
		ContextTimeoutEnabled: true,
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
	if first.Password != "" {
		u.Username, u.Password = first.Username, first.Password
	}
	if u.DB != 0 && u.MasterName == "" && (u.IsClusterMode || len(u.Addrs) > 1) {
		return nil, errors.New("a Redis Cluster has no databases: leave the number out of the URL")
	}
	if first.TLSConfig != nil {
		// No ServerName: each connection has its own host to check.
		u.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
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
