package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-stepup/stepup/internal/freeport"
)

// redisServer is a process of its own that persists nothing.
type redisServer struct {
	url    string
	cmd    *exec.Cmd
	client *redis.Client
}

// redis starts a server on a free port.
func (b *bench) redis(ctx context.Context) (*redisServer, error) {
	address, err := freeport.Address(freeport.Redis)
	if err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(address, ":")
	s := &redisServer{
		url: "redis://" + address,
		cmd: exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", b.dir,
			"--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning"),
		client: redis.NewClient(&redis.Options{Addr: address, ContextTimeoutEnabled: true}),
	}
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting redis-server: %w", err), s.client.Close())
	}
	err = eventually(ctx, "redis-server", patience, func() (bool, error) {
		return s.client.Ping(ctx).Err() == nil, nil
	})
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *redisServer) stop() {
	_ = s.client.Close()
	_ = s.cmd.Process.Kill() // there is nothing in it that anybody wants
	_ = s.cmd.Wait()
}

// cpu is the time that the server has spent on a CPU so far.
func (s *redisServer) cpu(ctx context.Context) (time.Duration, error) {
	info, err := s.client.Info(ctx, "cpu").Result()
	if err != nil {
		return 0, fmt.Errorf("asking Redis for its CPU time: %w", err)
	}
	var spent float64
	for _, name := range []string{"used_cpu_sys", "used_cpu_user"} {
		seconds, err := infoNumber(info, name)
		if err != nil {
			return 0, err
		}
		spent += seconds
	}
	return time.Duration(spent * float64(time.Second)), nil
}

// memory is how many bytes the server has allocated.
func (s *redisServer) memory(ctx context.Context) (uint64, error) {
	info, err := s.client.Info(ctx, "memory").Result()
	if err != nil {
		return 0, fmt.Errorf("asking Redis for its memory: %w", err)
	}
	n, err := infoNumber(info, "used_memory")
	return uint64(n), err
}

// infoNumber finds a number in the answer to INFO.
func infoNumber(info, name string) (float64, error) {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("the answer of Redis has no %s", name)
}
