package redisstore

import (
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

// Universal shows tests what the options become.
func (o Options) Universal() (*redis.UniversalOptions, error) { return o.universal() }

// SetHealth lets tests notice a dead connection sooner.
func (s *Store) SetHealth(d time.Duration) { s.health = d }

// ShardOf tells in which shard of the queue an approval stands.
func ShardOf(ref approval.Ref) int { return shardOf(member(ref)) }
