package main

import "testing"

func TestCPUModel(t *testing.T) {
	const info = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 1\nmodel name\t: AMD EPYC 9B14\nstepping\t: 1\n"
	for text, want := range map[string]string{info: "AMD EPYC 9B14", "": "arm64", "processor : 0\nFeatures : fp\n": "arm64"} {
		if got := cpuModel(text, "arm64"); got != want {
			t.Errorf("cpuModel(%q) is %q, want %q", text, got, want)
		}
	}
}

func TestRedisVersion(t *testing.T) {
	const said = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c971a948f0\n"
	if got := redisVersion(said); got != "7.0.15" {
		t.Errorf("redisVersion is %q", got)
	}
	if got := redisVersion("something else"); got != "of an unknown version" {
		t.Errorf("redisVersion is %q", got)
	}
}
