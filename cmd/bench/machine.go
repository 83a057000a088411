package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// describeMachine says where and with what is measured.
func describeMachine(ctx context.Context) (string, error) {
	redis, err := exec.CommandContext(ctx, "redis-server", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("asking redis-server for its version: %w", err)
	}
	cpu := runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		cpu = cpuModel(string(info), cpu)
	}
	version, _ := caddy.Version()
	return fmt.Sprintf("%s: %s, %d cores, %s/%s; %s, Caddy %s, Redis %s.",
		time.Now().Format(time.DateOnly), cpu, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH,
		runtime.Version(), version, redisVersion(string(redis))), nil
}

// cpuModel finds the model in Linux's /proc/cpuinfo.
func cpuModel(info, otherwise string) string {
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return otherwise
}

// redisVersion finds the version in what redis-server says of itself.
func redisVersion(s string) string {
	for field := range strings.FieldsSeq(s) {
		if v, ok := strings.CutPrefix(field, "v="); ok {
			return v
		}
	}
	return "of an unknown version"
}
