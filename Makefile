# Berth's daily verbs. `make run` and `make test` need nothing prepared: each
# brings the engine, the compiler's needs and the images it uses.

BASE_IMAGE ?=
LISTEN     ?= 127.0.0.1:8000
MANIFESTS  ?= manifests
STATE_DIR  ?= .berth/state
WORKSPACES ?= .berth/workspaces
ARGS       ?=

# The engine that the tests against a real one use.
export BERTH_TEST_ENGINE ?= $(or $(DOCKER_HOST),unix:///var/run/docker.sock)
# Where rustup puts cargo, for shells that have not read its profile yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

.DEFAULT_GOAL := help
.PHONY: help run build test bless bench lint docs setup toolchain engine base-image tiny-image clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup ## build Berth and run it on manifests/ (BASE_IMAGE, LISTEN, MANIFESTS, ARGS)
	cargo build --release
	base="$$(BASE_IMAGE='$(BASE_IMAGE)' compose/base/choose.sh)" && exec target/release/berth run \
	  --manifests '$(MANIFESTS)' --state-dir '$(STATE_DIR)' --workspaces '$(WORKSPACES)' \
	  --listen '$(LISTEN)' --base-image "$$base" --allow-local-git $(ARGS)

build: toolchain ## the release binary: target/release/berth
	cargo build --release

test: setup base-image tiny-image ## every test, those against a real engine too (ARGS)
	cargo nextest run $(ARGS)

bless: toolchain ## rewrite the expected texts of golden tests; look at the diff
	BLESS=1 cargo nextest run -E 'not test(/^e2e::/)' $(ARGS)

bench: setup tiny-image ## measure (ARGS)
	cargo bench --bench bench $(ARGS)

lint: toolchain ## formatting and clippy
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

docs: toolchain ## the code's documentation, without a broken link
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps

setup: toolchain engine ## all that the other targets need from the machine

toolchain:
	@compose/setup/toolchain.sh

engine:
	@compose/setup/engine.sh

base-image: engine ## berth/base:offline, from Debian packages (FORCE=1, SUITE, BASE_TAG)
	@compose/base/offline.sh

tiny-image: engine ## berth/tiny:offline, for tests and examples (FORCE=1, TINY_TAG)
	@compose/base/tiny.sh

clean: ## remove what was compiled; .berth/ and images stay
	cargo clean
