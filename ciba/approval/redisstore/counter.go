package redisstore

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-stepup/stepup/ciba/approval"
)

var (
	//go:embed counter.lua
	counterLua string
	//go:embed take.lua
	takeLua string
	//go:embed block.lua
	blockLua string

	takeScript  = redis.NewScript(clockLua + counterLua + takeLua)
	blockScript = redis.NewScript(clockLua + counterLua + blockLua)
)

// counter names the key of a counter.
func (s *Store) counter(name approval.Tag) []string {
	return []string{s.prefix + "counter:{" + name.String() + "}"}
}

// Take implements [approval.Store].
func (s *Store) Take(ctx context.Context, counter approval.Tag, r approval.Rate) (time.Duration, error) {
	answer, err := s.run(ctx, takeScript, s.counter(counter), r.Burst, micros(r.Per))
	wait, ok := answer.(int64)
	if err == nil && !ok {
		err = errAnswer
	}
	if err != nil {
		return 0, fmt.Errorf("taking from a budget in Redis: %w", err)
	}
	return time.Duration(wait) * time.Microsecond, nil
}

// Block implements [approval.Store].
func (s *Store) Block(ctx context.Context, counter approval.Tag, p approval.Penalty) error {
	_, err := s.run(ctx, blockScript, s.counter(counter), p.Free, micros(p.First), micros(p.Longest), micros(p.Memory))
	if err != nil {
		return fmt.Errorf("blocking a budget in Redis: %w", err)
	}
	return nil
}
