# Berth's daily verbs. `make run` and `make test` need nothing prepared: each
# brings the engine, the compiler's needs and the images it uses.

BASE_IMAGE ?=
LISTEN     ?= 127.0.0.1:8000
MANIFESTS  ?= manifests
STATE_DIR  ?= .berth/state
WORKSPACES ?= .berth/workspaces
ARGS       ?=
# `make crash-pairs` plays one of so many pairs.
SHARE      ?= 1
# How many crashes, failures, hands on the engine and edits `make model` explores.
MODEL      ?= 2,2,1,0

# The engine that the tests against a real one use.
export BERTH_TEST_ENGINE ?= $(or $(DOCKER_HOST),unix:///var/run/docker.sock)
# Where rustup puts cargo, for shells that have not read its profile yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

.DEFAULT_GOAL := help
.PHONY: help run build test bless bench bench-metrics bench-models crash-pairs crash-real store-crash backup-steps faults model engine-failures engines gpu-engines managers cuda-table soak soak-kills mutants seeded fuzz api-fuzz editor lint docs setup toolchain engine sshd service-tools age rclone prometheus large-files compose-tool hub-clients oci-clients nginx base-image base-image-parents offline-image tiny-image berth-image release upgrade browser screenshots clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup ## build Berth and run it on manifests/ (BASE_IMAGE, LISTEN, MANIFESTS, ARGS)
	cargo build --release
	base="$$(BASE_IMAGE='$(BASE_IMAGE)' compose/base/choose.sh)" && exec target/release/berth run \
	  --manifests '$(MANIFESTS)' --state-dir '$(STATE_DIR)' --workspaces '$(WORKSPACES)' \
	  --listen '$(LISTEN)' --base-image "$$base" --allow-local-git $(ARGS)

build: toolchain ## the release binary: target/release/berth
	cargo build --release

test: setup compose-tool sshd age rclone prometheus service-tools hub-clients oci-clients base-image tiny-image ## every test, those against a real engine too (ARGS)
	cargo nextest run $(ARGS)

engine-failures: setup tiny-image ## what happens when the engine itself fails (ARGS)
	cargo nextest run -E 'test(/^(engine_failure|state_files)::/)' $(ARGS)

engines: setup compose-tool sshd age rclone prometheus service-tools base-image tiny-image ## tests on 20.10, 26.1 and 28.5, with and without live-restore (ENGINES, LIVE, TESTS)
	@compose/setup/engine-matrix.sh

gpu-engines: setup tiny-image ## GPUs into containers: by a hook on this engine, by CDI on 28.5 (CACHE, ARGS)
	@cache='$(or $(CACHE),$(CURDIR)/target/engines/sid)'; \
	  [ -x "$$cache/root/usr/sbin/dockerd" ] || compose/setup/second-engine.sh fetch sid "$$cache"; \
	  BERTH_TEST_NEWER_ENGINE="$$cache/root" cargo nextest run --ignore-default-filter -E 'test(/^devices::/)' $(ARGS)

cuda-table: ## compare the table of frameworks and CUDA with the newest packages (needs pip)
	python3 compose/setup/cuda-table.py

managers: setup offline-image ## builds that fetch Poetry and Node first (ARGS)
	cargo nextest run -P long --ignore-default-filter -E 'test(/^e2e::managers::/)' $(ARGS)

soak: setup tiny-image ## a busy host's day in minutes: nothing may grow (SOAK_MINUTES, SEED)
	BERTH_TEST_SOAK_MINUTES='$(or $(SOAK_MINUTES),20)' BERTH_TEST_SEED='$(or $(SEED),7)' \
	  cargo nextest run -P long -E 'test(/^engine_failure::soak::a_busy_day/)' $(ARGS)

soak-kills: setup tiny-image ## 1,000 kills of Berth at random (KILLS, SEED)
	BERTH_TEST_KILLS='$(or $(KILLS),1000)' BERTH_TEST_SEED='$(or $(SEED),7)' \
	  cargo nextest run -P long -E 'test(/^engine_failure::kills/)' $(ARGS)

store-crash: toolchain ## the model store: crashes and failures at every change of its disk, 10,000 and more (SEEDS)
	BERTH_STORE_SEEDS='$(or $(SEEDS),3)' cargo nextest run -P long -E 'test(/^(store|hub)::crash::/)' $(ARGS)

faults: setup offline-image tiny-image ## every fault at every call: in memory, then on the real engine (long)
	BERTH_MATRIX=all cargo nextest run --profile long -E 'test(/^matrix::/)' $(ARGS)
	BERTH_FAULTS=all cargo nextest run --profile long -E 'test(/^e2e::fault_points::/)' $(ARGS)

crash-real: setup offline-image tiny-image ## kill -9 at every request to the real engine (minutes)
	BERTH_CRASH_REAL=all cargo nextest run --profile long -E 'test(/^e2e::crash_points::/)' $(ARGS)

bless: toolchain ## rewrite the expected texts of golden tests; look at the diff
	BLESS=1 cargo nextest run -E 'not test(/^(e2e|engine_failure|engine_contract::(docker|pull|tools))::/)' $(ARGS)

bench: setup tiny-image nginx ## measure (ARGS)
	cargo bench --bench bench $(ARGS)

bench-models: setup tiny-image nginx ## the model store beside nginx, and its memory (MIB, ARGS)
	BENCH_ONLY=models BENCH_MIB='$(or $(MIB),2048)' cargo bench --bench bench $(ARGS)

bench-metrics: setup tiny-image ## what a scrape costs, and its figures, beside cAdvisor's (ARGS)
	cadvisor=$$(compose/setup/cadvisor.sh) && BENCH_CADVISOR=$$cadvisor BENCH_ONLY=metrics cargo bench --bench bench $(ARGS)

crash-pairs: toolchain ## kill Berth at every pair of calls, in memory; long (SHARE, ARGS)
	BERTH_CRASH_PAIRS='$(SHARE)' cargo test --test it -- --nocapture crash::a_second_kill $(ARGS)

model: toolchain ## explore all that can happen to two apps, in memory; minutes (MODEL)
	BERTH_MODEL='$(MODEL)' cargo test --test it -- --nocapture model::whatever

mutants: toolchain ## change the decisions one by one; a test must notice each (ARGS)
	tests/mutants/run $(ARGS)

seeded: setup ## bring bugs of the past back one by one; a test must find each (FROM, TO, ARGS)
	FROM='$(FROM)' TO='$(TO)' tests/seeded/run $(ARGS)

EXAMPLES ?= 50
api-fuzz: toolchain ## requests made from the OpenAPI document, on an engine in memory; minutes (EXAMPLES, SEED)
	tests/api-fuzz/run '$(EXAMPLES)' '$(or $(SEED),1)'

editor: toolchain ## what editors make of manifests: the schema, and what `berth init` writes (node, npm)
	tests/editor/run

SECONDS ?= 120
fuzz: toolchain ## hostile input for every reader of text (SECONDS, ARGS)
	CARGO_TARGET_DIR=target/fuzz cargo run -q --manifest-path tests/fuzz/Cargo.toml -- $(SECONDS) $(ARGS)

lint: toolchain ## formatting, clippy, and whether what fuzzes still compiles
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	CARGO_TARGET_DIR=target/fuzz cargo check -q --locked --manifest-path tests/fuzz/Cargo.toml

docs: toolchain ## the code's documentation, without a broken link
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps

setup: toolchain engine ## all that the other targets need from the machine

toolchain:
	@compose/setup/toolchain.sh

engine:
	@compose/setup/engine.sh

sshd:
	@compose/setup/sshd.sh

age:
	@compose/setup/age.sh

service-tools:
	@compose/setup/service-tools.sh

rclone:
	@compose/setup/rclone.sh

backup-steps: setup rclone ## backups and restores: every fault at every step (ARGS)
	BERTH_BACKUP_STEPS=1 cargo nextest run -P long -E 'test(/^backup::/)' $(ARGS)

prometheus:
	@compose/setup/prometheus.sh

large-files: setup ## a file of Git LFS as large as MIB says, in flat memory (MIB)
	BERTH_LFS_MIB='$(or $(MIB),1024)' cargo nextest run -P long -E 'test(/^git_access::lfs::a_large_file/)' $(ARGS)

hub-clients: ## huggingface_hub in three versions, for tests that run them
	@compose/setup/hub-clients.sh

oci-clients: ## skopeo and oras, for tests that run them
	@compose/setup/oci-clients.sh

nginx:
	@compose/setup/nginx.sh

compose-tool:
	@compose/setup/compose-tool.sh

offline-image: engine ## berth/base:offline, from Debian packages (FORCE=1, SUITE, BASE_TAG)
	@compose/base/offline.sh

base-image: engine ## berth/workspace:offline, which images of apps extend (PARENT, FAMILY_TAG, FORCE=1)
	@PARENT='$(PARENT)' compose/base/family.sh

base-image-parents: setup compose-tool sshd rclone offline-image tiny-image ## the base image and its tests on other Debian releases; minutes (PARENTS, TESTS, KEEP=1)
	@PARENTS='$(PARENTS)' TESTS='$(TESTS)' KEEP='$(KEEP)' compose/base/parents.sh

tiny-image: engine ## berth/tiny:offline, for tests and examples (FORCE=1, TINY_TAG)
	@compose/base/tiny.sh

berth-image: ## Berth in a container, of the program that `make build` made (PROGRAM, PARENT, BERTH_TAG)
	@compose/berth/image.sh

release: toolchain ## program, .deb, OCI image, SBOM and checksums in target/release-files (CHECK=1 builds twice, OCI=0)
	@CHECK='$(CHECK)' OCI='$(OCI)' compose/release/release.sh

upgrade: setup tiny-image ## an earlier version, this one, the earlier one again: nothing is recreated (OLD)
	@OLD='$(OLD)' compose/release/upgrade.sh

browser: setup tiny-image ## the page in a real browser, on both engines; minutes (TESTS)
	@compose/setup/browser.sh
	cargo build
	node --test --test-concurrency=1 --test-reporter=spec $(or $(TESTS),tests/browser/*.test.mjs)

screenshots: setup tiny-image ## docs/screenshots/ anew, from the program itself
	@compose/setup/browser.sh pictures
	cargo build
	node tests/browser/shots.mjs

clean: ## remove what was compiled; .berth/ and images stay
	cargo clean
