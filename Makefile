# CI=true turns a missing tool or a skipped test into a failure.
FUZZTIME ?= 60s

# Caddy's own builds leave out these databases of its ACME server.
TAGS := nobadger,nomysql,nopgx

.PHONY: build test fuzz bench demo fmt

# Build ./caddy through xcaddy, as xcaddy.json says.
build:
	go run ./cmd/build

# Check everything: formatting, go.mod, vet, then all tests with the race
# detector. Installs Redis and a browser for them where it may.
test:
	.ci/setup
	.ci/test $(TAGS),browser

# Run each fuzz target for FUZZTIME.
fuzz:
	.ci/fuzz $(TAGS) $(FUZZTIME)

# Measure what docs/performance.md quotes, on a quiet machine; it takes about 40
# minutes. BENCH has flags and names of parts: BENCH='-quick load' for a look.
bench:
	go run -tags=$(TAGS) ./cmd/bench $(BENCH)

# Gate, broker with a phone page, and an old application, in one process.
demo:
	go run -tags=$(TAGS) ./cmd/demo

fmt:
	gofmt -w caddymodule ciba cmd internal
