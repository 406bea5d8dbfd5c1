# make demo    a team in a terminal chat rolls a broken service back, on a real Docker engine
# make test    every test, on a real Docker engine as well
# Both set up all they need beyond Rust, make and a C compiler, and remove what they made.
#
# make fuzz      libFuzzer over everything that reads what others wrote, FUZZ_SECONDS=60 for each (needs nightly)
#
# make engines   the suites that touch an engine, on engines 26 and 28 and both image stores (docs/support.md)
#
# PLAY_ONLY=1 make demo    plays the story and ends; so does a demo whose input is not a terminal

.POSIX:
.SUFFIXES:
.DELETE_ON_ERROR:
.PHONY: help demo test fuzz engines engine-26 engine-26-store engine-28 engine-28-store check fmt lint deny bench image product rust

RUST_MINIMUM = 1.95.0
DENY_VERSION = 0.20.2

export PATH := $(PATH):$(HOME)/.cargo/bin
TARGET := $(or $(CARGO_TARGET_DIR),target)
ENGINE := tests/setup/engine.sh
PRODUCT := .cache/product
DENY := .cache/cargo-deny-$(DENY_VERSION)/bin/cargo-deny

help:
	@echo "make demo | test | check (fmt, lint, test, deny) | bench | image   - see README.md"

demo: rust product
	@cargo build --locked
	@play="$(if $(PLAY_ONLY),--play-only)"; [ -t 0 ] || play=--play-only; \
	$(ENGINE) run --else-simulated -- "$(TARGET)/debug/sternway" demo --product $(PRODUCT) $$play

test: rust product
	@$(ENGINE) run --else-alone -- cargo test --locked --no-fail-fast

# What is told apart by engine, without what is not. The first set is what CI runs on two of the four.
ON_ENGINE = cargo test --locked --no-fail-fast --test engine --test agent --test next_up
STORY = cargo test --locked --test real_engine -- story:: a_tag_moved

engines: engine-26 engine-26-store engine-28 engine-28-store

engine-26: rust product
	@tests/setup/engines.sh 26.1.5 -- sh -ec '$(ON_ENGINE); $(STORY)'

engine-26-store: rust product
	@tests/setup/engines.sh 26.1.5 --containerd-store -- sh -ec '$(ON_ENGINE); $(STORY)'

engine-28: rust product
	@tests/setup/engines.sh 28.5.2 -- sh -ec '$(ON_ENGINE); $(STORY)'

engine-28-store: rust product
	@tests/setup/engines.sh 28.5.2 --containerd-store -- sh -ec '$(ON_ENGINE); $(STORY)'

# The long form of tests/bad_input.rs: FUZZ_SECONDS (60) for each target, or FUZZ_TARGETS="config log_line".
fuzz: rust
	@fuzz/run.sh

check: fmt lint test deny

fmt: rust
	cargo fmt --check
	rustfmt --check --edition 2024 tests/product/product.rs

lint: rust
	cargo clippy --locked --all-targets -- -D warnings

deny: rust $(DENY)
	$(DENY) --locked check licenses bans sources

# Built once, into the clone; it takes a few minutes.
$(DENY):
	@echo "installing cargo-deny $(DENY_VERSION) into .cache (for licences and bans; once)"
	env -u CARGO_TARGET_DIR cargo install cargo-deny --version $(DENY_VERSION) --locked \
		--root .cache/cargo-deny-$(DENY_VERSION)

bench: rust product
	@$(ENGINE) run -- cargo bench --locked --bench swap

image:
	docker build --tag sternway .

# The sample product as a build context: the static program, its Dockerfile and the Compose project.
product: rust $(PRODUCT)/product $(PRODUCT)/Dockerfile $(PRODUCT)/compose.yml $(PRODUCT)/example.env

$(PRODUCT)/product: tests/product/product.rs
	@mkdir -p $(PRODUCT)
	@rustc --edition 2024 -D warnings -O -C target-feature=+crt-static -C panic=abort -C strip=symbols -o $@ $<

$(PRODUCT)/%: tests/product/%
	@mkdir -p $(PRODUCT)
	@cp $< $@

rust:
	@command -v cargo >/dev/null || { \
		echo "sternway: Rust is missing: install it from https://rustup.rs and run make again" >&2; exit 1; }
	@command -v cc >/dev/null || { \
		echo "sternway: a C compiler is missing: apt-get install gcc libc6-dev, and run make again" >&2; exit 1; }
	@found=$$(rustc --version | cut -d ' ' -f 2); \
	[ "$$(printf '%s\n' $(RUST_MINIMUM) "$$found" | sort -V | head -n 1)" = $(RUST_MINIMUM) ] || { \
		echo "sternway: Rust $$found is too old: $(RUST_MINIMUM) is needed (rustup update), then run make again" >&2; exit 1; }
