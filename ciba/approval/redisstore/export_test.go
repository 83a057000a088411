package redisstore

import (
	"time"

	"github.com/redis/go-redis/v9"
)

// Universal shows tests what the options become.
func (o Options) Universal() (*redis.UniversalOptions, error) { return o.universal() }

// SetHealth lets tests notice a dead connection sooner.
func (s *Store) SetHealth(d time.Duration) { s.health = d }
