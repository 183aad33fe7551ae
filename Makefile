# Everything a person types. The work is in deploy/ (clusters), .ci/ (tests) and Cargo; this only names it.

.DEFAULT_GOAL := help
.PHONY: compat check-state fuzz sim help up down env clean-dev test fmt lint bench chaos chaos-leases chaos-limits chaos-upgrade traces check-growth chaos-mutants fresh-check dist image install

# A compiler cache is used when there is one. The same words for every target: another value would build RocksDB again.
ifneq ($(shell command -v ccache 2>/dev/null),)
ifeq ($(origin CC),default)
export CC := ccache gcc
endif
ifeq ($(origin CXX),default)
export CXX := ccache g++
endif
endif

# Base port of the test cluster; empty: the one it was made with, else 8200.
export PORT

# Length of chaos, and part of the full load that check-growth makes.
MINUTES ?= 10
SCALE ?= 1

PREFIX ?= /usr/local
DESTDIR ?=

# Where cargo puts a release: a variable or a file of the user's may say so.
BUILT = $(shell cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release

help:
	@echo "make up         build, start and unseal a test cluster of three nodes (PORT=8200 is the base port)"
	@echo "make env        print its exports:  eval \"\$$(make -s env)\""
	@echo "make down       stop it, keep its data"
	@echo "make clean-dev  stop it, remove its data"
	@echo "make test       everything CI runs, with the seconds of each step"
	@echo "make compat     every route beside a real bao: what is tried, and how answers differ (WRITE=1 writes the table)"
	@echo "make sim        clusters on a simulated network, disk and clock (SEEDS=5000, FIRST=1, JOBS=2)"
	@echo "make fmt        format the sources"
	@echo "make lint       clippy and tidy"
	@echo "make bench      measure against bao"
	@echo "make chaos      real clusters while everything goes wrong, checked, with a picture (MINUTES=10, SEEDS=1, NODES=3|5,"
	@echo "                FAULTS=all|kill-leader,... SEED= repeats the choices of a run, RECORD=docs/reliability.md notes it)"
	@echo "make chaos-leases   leaders struck at every step of making and dropping accounts; part of make chaos without FAULTS and SEED"
	@echo "make check-state    the same with kills alone (MINUTES=10)"
	@echo "make check-growth   disk space after 200,000 puts and 100,000 expired tokens (SCALE=1)"
	@echo "make chaos-limits   a rate limit over three nodes and a move of leadership, and a dead member that is removed; part of make chaos as well"
	@echo "make chaos-upgrade  upgrades a cluster node by node to the next version, which has one more format"
	@echo "make traces     sends traces of requests to a collector, from a build with the feature otlp"
	@echo "make chaos-mutants  proves that the checks find the bugs they are for"
	@echo "make fuzz       search for bytes that break a decoder (MINUTES=10 for each, TARGETS='path policy')"
	@echo "make fresh-check    make up and make test on a fresh Debian, hours (COMMAND=smoke: some steps of it)"
	@echo "make dist       a Debian package in dist/"
	@echo "make image      the container image in dist/, built without a registry (root, buildah, debootstrap; BINARY=a built program)"
	@echo "make install    binary, manual, completions and systemd unit below PREFIX (/usr/local)"

up:
	@deploy/local/up.sh

down:
	@deploy/local/down.sh

env:
	@deploy/local/env.sh

clean-dev:
	@deploy/local/clean.sh

test:
	@.ci/test

# The table of docs/compatibility.md is this run's; WRITE=1 writes it.
compat:
	$(if $(WRITE),CONCLAVE_COMPAT_WRITE=1) cargo nextest run --locked -p conclave-cli --test wire --no-capture -E 'test(requests_are_answered_alike)'

sim:
	cargo test --locked -p conclave-chaos-sim --test simulation nothing_goes_wrong -- --nocapture

fmt:
	cargo fmt --all

lint:
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo xtask tidy

bench:
	cargo build --release --locked -p conclave-cli -p conclave-benches
	python3 benches/compare.py --conclave "$(BUILT)/conclave" --load "$(BUILT)/conclave-load" $(BENCH)

chaos:
	cargo build --locked -p conclave-cli
	CONCLAVE_CHAOS_MINUTES=$(MINUTES) CONCLAVE_CHAOS_SEEDS=$(SEEDS) CONCLAVE_CHAOS_FAULTS=$(FAULTS) CONCLAVE_CHAOS_NODES=$(NODES) \
		CONCLAVE_CHAOS_RECORD=$(abspath $(RECORD)) CONCLAVE_CHAOS_REPORT=$(abspath $(REPORT)) \
		CONCLAVE_CHAOS_COMMIT=$$(git describe --always --dirty 2>/dev/null) $(if $(SEED),CONCLAVE_CHAOS_SEED=$(SEED)) \
		cargo nextest run --locked -p conclave-chaos-tests --test cluster --profile long --no-capture -E 'test(cluster_chaos)'
	$(if $(FAULTS)$(SEED),,@$(MAKE) --no-print-directory chaos-leases chaos-limits)

# Leaders struck at every step of leases with every fault, targets up and down; of each of them make test tries a part.
chaos-leases:
	cargo build --locked -p conclave-cli
	CONCLAVE_CHAOS_LEASES=all cargo nextest run --locked -p conclave-chaos-tests --test cluster --profile long -E 'test(cluster_lease)'

# Rate limits and the removal of the dead, in real time: some minutes.
chaos-limits:
	cargo build --locked -p conclave-cli
	cargo nextest run --locked -p conclave-chaos-tests --features limits --test cluster --profile long --no-capture -E 'test(cluster_limits)'

# The same with nothing but kills: what was acknowledged is there, and reads are current.
check-state:
	@$(MAKE) --no-print-directory chaos FAULTS=kill-leader,kill-follower,kill-two,kill-all

chaos-upgrade:
	chaos-tests/upgrade.sh

traces:
	chaos-tests/traces.sh

chaos-mutants:
	chaos-tests/mutants.sh $(MUTANTS)

# Targets of fuzz/corpus, and minutes for each: make fuzz TARGETS="path policy" MINUTES=10
fuzz:
	MINUTES=$(MINUTES) RECORD=$(RECORD) fuzz/fuzz.sh $(TARGETS)

fresh-check:
	@deploy/fresh-check.sh $(COMMAND)

check-growth:
	cargo build --release --locked -p conclave-cli
	CONCLAVE_BIN="$(BUILT)/conclave" \
		CONCLAVE_CHAOS_SCALE=$(SCALE) cargo nextest run \
		--locked -p conclave-chaos-tests --profile long --no-capture -E 'test(cluster_growth)'

dist:
	@deploy/package.sh

image:
	@BINARY=$(BINARY) deploy/container/image.sh

install:
	cargo build --release --locked -p conclave-cli
	install -D -m 755 "$(BUILT)/conclave" "$(DESTDIR)$(PREFIX)/bin/conclave"
	install -d "$(DESTDIR)$(PREFIX)/share/man/man1"
	"$(BUILT)/conclave" man "$(DESTDIR)$(PREFIX)/share/man/man1"
	install -d "$(DESTDIR)$(PREFIX)/share/bash-completion/completions" "$(DESTDIR)$(PREFIX)/share/zsh/site-functions" "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d"
	"$(BUILT)/conclave" completion bash > "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/conclave"
	"$(BUILT)/conclave" completion zsh > "$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_conclave"
	"$(BUILT)/conclave" completion fish > "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/conclave.fish"
	install -d "$(DESTDIR)$(PREFIX)/lib/systemd/system"
	sed 's|/usr/local/bin|$(PREFIX)/bin|' deploy/systemd/conclave.service > "$(DESTDIR)$(PREFIX)/lib/systemd/system/conclave.service"
