package caddymodule

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-stepup/stepup/ciba/approval"
	"github.com/caddy-stepup/stepup/ciba/approval/memstore"
	"github.com/caddy-stepup/stepup/ciba/approval/redisstore"
)

func init() {
	caddy.RegisterModule(MemoryStore{})
	caddy.RegisterModule(RedisStore{})
}

// MemoryStore keeps approvals in the memory of this gateway. They live through
// a reload of the configuration, and end with the process.
type MemoryStore struct{}

// CaddyModule returns the Caddy module information.
func (MemoryStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "step_up.stores.memory",
		New: func() caddy.Module { return new(MemoryStore) },
	}
}

// Open implements [StoreModule].
func (*MemoryStore) Open() (approval.Store, error) { return memstore.New(memstore.Config{}), nil }

// PoolKey implements [StoreModule]: a process has one memory.
func (*MemoryStore) PoolKey() string { return "memory" }

// UnmarshalCaddyfile sets up the module from Caddyfile tokens. Syntax:
//
//	store memory
func (*MemoryStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume module name
	if d.NextArg() {
		return d.ArgErr()
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("unrecognized subdirective '%s'", d.Val())
	}
	return nil
}

// RedisStore keeps approvals in Redis, so that any number of gateways share
// them: one server, Redis Sentinel or Redis Cluster. Redis 6.2 or later, or a
// server that speaks its protocol and runs its scripts.
type RedisStore struct {
	// URLs are the servers, as redis:// or rediss:// URLs: one for a single
	// server, the sentinels where MasterName is set, or some nodes of a
	// cluster. User name, password and database number are part of a URL.
	// Required. Placeholders are resolved.
	URLs []string `json:"urls,omitempty"`

	// MasterName is the name under which Sentinel knows the primary. With it,
	// the URLs name sentinels.
	MasterName string `json:"master_name,omitempty"`

	// SentinelUsername and SentinelPassword are for the sentinels themselves,
	// where they want any; what the URLs have is for the primary. Placeholders
	// are resolved.
	SentinelUsername string `json:"sentinel_username,omitempty"`
	SentinelPassword string `json:"sentinel_password,omitempty"`

	// Cluster says that the URLs name nodes of a Redis Cluster. It is needed
	// only when there is one URL; several without a MasterName mean a cluster.
	Cluster bool `json:"cluster,omitempty"`

	// CAFile names a file with the certificates, in PEM form, of the authorities
	// that may vouch for the servers of rediss:// URLs. The default is the
	// system's. It is read when a configuration is loaded. Placeholders are
	// resolved.
	CAFile string `json:"ca_file,omitempty"`

	// CertFile and KeyFile name the certificate that is shown to servers of
	// rediss:// URLs, and its key, in PEM form. They are read again for each
	// connection. Placeholders are resolved.
	CertFile string `json:"cert_file,omitempty"`
	KeyFile  string `json:"key_file,omitempty"`

	// Prefix is put before the names of all keys and of the channel. The
	// default is "stepup:".
	Prefix string `json:"prefix,omitempty"`

	options redisstore.Options
	poolKey string
}

// CaddyModule returns the Caddy module information.
func (RedisStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "step_up.stores.redis",
		New: func() caddy.Module { return new(RedisStore) },
	}
}

// Provision resolves the URLs and reads ca_file, without making a connection.
func (s *RedisStore) Provision(caddy.Context) error {
	if len(s.URLs) == 0 {
		return errors.New("redis store has no URL: write redis://host:6379 or the like")
	}
	s.options = redisstore.Options{MasterName: s.MasterName, Cluster: s.Cluster, Prefix: s.Prefix}
	for _, u := range s.URLs {
		resolved, err := resolve("redis URL", u)
		if err != nil {
			return err
		}
		s.options.URLs = append(s.options.URLs, resolved)
	}
	var caFile string
	for _, f := range []struct {
		name, value string
		out         *string
	}{
		{"sentinel_username", s.SentinelUsername, &s.options.SentinelUsername},
		{"sentinel_password", s.SentinelPassword, &s.options.SentinelPassword},
		{"ca_file", s.CAFile, &caFile},
		{"cert_file", s.CertFile, &s.options.CertFile},
		{"key_file", s.KeyFile, &s.options.KeyFile},
	} {
		if f.value == "" {
			continue
		}
		if s.MasterName == "" && strings.HasPrefix(f.name, "sentinel_") {
			return fmt.Errorf("%s is for sentinels: it needs master_name", f.name)
		}
		var err error
		if *f.out, err = resolve(f.name, f.value); err != nil {
			return err
		}
	}
	if caFile != "" {
		var err error
		if s.options.Authorities, err = os.ReadFile(caFile); err != nil {
			return fmt.Errorf("reading ca_file: %w", err)
		}
	}
	opened, err := redisstore.Open(s.options)
	if err != nil {
		return err
	}
	if err := opened.Close(); err != nil {
		return err
	}
	// Other authorities in the same file are another configuration.
	s.poolKey = poolKey("redis", strings.Join(s.options.URLs, " "), s.MasterName, s.options.SentinelUsername, s.options.SentinelPassword, fmt.Sprint(s.Cluster), s.Prefix,
		string(s.options.Authorities), s.options.CertFile, s.options.KeyFile)
	return nil
}

// Open implements [StoreModule].
func (s *RedisStore) Open() (approval.Store, error) { return redisstore.Open(s.options) }

// PoolKey implements [StoreModule].
func (s *RedisStore) PoolKey() string { return s.poolKey }

// UnmarshalCaddyfile sets up the module from Caddyfile tokens. Syntax:
//
//	store redis <url...> {
//	    master_name       <name>
//	    sentinel_username <name>
//	    sentinel_password <password>
//	    cluster
//	    ca_file           <path>
//	    cert_file         <path>
//	    key_file          <path>
//	    prefix            <prefix>
//	}
func (s *RedisStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume module name
	s.URLs = d.RemainingArgs()
	if len(s.URLs) == 0 {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch name := d.Val(); name {
		case "master_name":
			if err := oneString(d, &s.MasterName); err != nil {
				return err
			}
		case "sentinel_username":
			if err := oneString(d, &s.SentinelUsername); err != nil {
				return err
			}
		case "sentinel_password":
			if err := oneString(d, &s.SentinelPassword); err != nil {
				return err
			}
		case "ca_file":
			if err := oneString(d, &s.CAFile); err != nil {
				return err
			}
		case "cert_file":
			if err := oneString(d, &s.CertFile); err != nil {
				return err
			}
		case "key_file":
			if err := oneString(d, &s.KeyFile); err != nil {
				return err
			}
		case "prefix":
			if err := oneString(d, &s.Prefix); err != nil {
				return err
			}
		case "cluster":
			if err := oneFlag(d, &s.Cluster); err != nil {
				return err
			}
		default:
			return d.Errf("unrecognized subdirective '%s'", name)
		}
	}
	return nil
}

// Interface guards
var (
	_ StoreModule           = (*MemoryStore)(nil)
	_ caddyfile.Unmarshaler = (*MemoryStore)(nil)
	_ StoreModule           = (*RedisStore)(nil)
	_ caddy.Provisioner     = (*RedisStore)(nil)
	_ caddyfile.Unmarshaler = (*RedisStore)(nil)
)
