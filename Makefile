# make demo    a team in a terminal chat rolls a broken service back, on a real Docker engine
# make test    every test, on a real Docker engine as well
# Both set up all they need beyond Rust, make and a C compiler, and remove what they made.
#
# make nights-kills   the bot killed at every point of a rollback, in every form; `make test` has a sample of it
# make torture   the log: 1,000 kills, a kill and four errors at every file-changing call, 200 power cuts, thousands of damages
# make nights-engine   every fault of the engine at every call of a run (the long form of tests/bad_nights.rs)
# make fuzz      libFuzzer over everything that reads what others wrote, FUZZ_SECONDS=60 for each (needs nightly)
#
# make engines   the suites that touch an engine, on engines 26 and 28 and both image stores (docs/support.md)
#
# make soak       half an hour of the whole bot in use: memory, file handles and tasks may not grow
# make bench-load many at once and much on record, with figures (docs/benchmarks.md); needs no engine
#
# PLAY_ONLY=1 make demo    plays the story and ends; so does a demo whose input is not a terminal

.POSIX:
.SUFFIXES:
.DELETE_ON_ERROR:
.PHONY: help demo test engines engine-26 engine-26-store engine-28 engine-28-store explore mutants nights-kills nights-engine torture torture-audit fuzz soak check fmt lint deny bench bench-load bench-verify image product rust

RUST_MINIMUM = 1.95.0
DENY_VERSION = 0.20.2
MUTANTS_VERSION = 27.1.0

export PATH := $(PATH):$(HOME)/.cargo/bin
TARGET := $(or $(CARGO_TARGET_DIR),target)
ENGINE := tests/setup/engine.sh
PRODUCT := .cache/product
DENY := .cache/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
MUTANTS := .cache/cargo-mutants-$(MUTANTS_VERSION)/bin/cargo-mutants

help:
	@echo "make demo | test | check (fmt, lint, test, deny) | bench | image   - see README.md"
	@echo "long forms: make explore | mutants | nights-kills | nights-engine | torture | torture-audit | fuzz | soak | bench-load | bench-verify"

demo: rust product
	@cargo build --locked
	@play="$(if $(PLAY_ONLY),--play-only)"; [ -t 0 ] || play=--play-only; \
	$(ENGINE) run --else-simulated -- "$(TARGET)/debug/sternway" demo --product $(PRODUCT) $$play

test: rust product
	@$(ENGINE) run --else-alone -- tests/setup/beside-soak.sh cargo test --locked --no-fail-fast

# Every order of events in a small world (docs/decisions/0015): each part of EXPLORE, divided by `;`, is a walk, or
# one's own: EXPLORE="services=2 night" make explore. Optimised, but not what it depends on, which it hardly uses.
EXPLORE ?= services=2 requests=1 crashes=1 lost=1 fails=1 undo-fails=1 cancels=1 ways=1; \
	services=1 acts ways-asked fails=2 undo-fails=2 ways=2; \
	services=4 acts nobody-agrees crashes=2 lost=2 fails=1 undo-fails=1 cancels=1 ways=1; \
	services=2 requests=1 crashes=2 lost=2 fails=1 undo-fails=1 cancels=1 outside=1 hours=1 ways=1

explore: rust
	@STERNWAY_EXPLORE="$(EXPLORE)" cargo test --locked --lib \
		--config 'profile.dev.package.sternway.opt-level=2' -- --ignored --exact procedures::explorer::tests::far --nocapture

# Small faults put into the run engine and the gate, one after another: which does no test notice? Hours.
mutants: rust $(MUTANTS)
	@$(MUTANTS) mutants --no-config --jobs 1 --timeout 300 --output .cache \
		--file src/procedures/decide.rs --file src/procedures/request.rs --file src/domain/run.rs \
		--file 'src/gate/*.rs' -- --locked --lib --test stories --test laws --test records

$(MUTANTS):
	@echo "installing cargo-mutants $(MUTANTS_VERSION) into .cache (once)"
	env -u CARGO_TARGET_DIR cargo install cargo-mutants --version $(MUTANTS_VERSION) --locked \
		--root .cache/cargo-mutants-$(MUTANTS_VERSION)

# The long forms of tests/store, and 10,000 random histories folded. Needs root for loop devices and small file systems; the
# seed that every failure names replays it: STERNWAY_SEED=N.
torture: rust
	@tests/setup/strace.sh ensure
	STERNWAY_TORTURE=1 CI=1 cargo test --locked --test store -- --nocapture crash:: points:: power:: harm:: filling::
	PROPTEST_CASES=10000 cargo test --locked --lib -- store::files::histories

# Every fault of the engine at every call of a run, as tests/bad_nights.rs describes; CI has a sample of it. Hours.
nights-engine: rust product
	@STERNWAY_NIGHTS=all $(ENGINE) run -- nice cargo test --locked --no-fail-fast --test bad_nights -- --nocapture

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

# Every call, record and sync, both ways. STERNWAY_KILLS_SEED=n with `make test` tries the sample of that seed again.
nights-kills: rust product
	@STERNWAY_KILLS=all $(ENGINE) run -- cargo test --locked --no-fail-fast --test real_engine -- --nocapture killed_anywhere

# A million records, harmed in every way at random places: each harm named with its line, each cut shown by a checkpoint.
# STERNWAY_SEED=N replays one round; STERNWAY_HARMS=N does more of them.
torture-audit: rust
	STERNWAY_RECORDS=$(or $(STERNWAY_RECORDS),1000000) cargo test --release --locked --test store -- --nocapture tamper::

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

# As many at once and as much on record as there may be; what runs services is simulated.
bench-load: rust
	@cargo bench --locked --bench load

# SOAK_SECONDS says for how long; `make test` has two minutes of it beside the suites. The allocator is told what the image tells it.
soak: rust
	@MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=131072 MALLOC_MMAP_THRESHOLD_=65536 cargo test --locked --test soak

# How long a million records take to verify; needs no engine.
bench-verify: rust
	@cargo bench --locked --bench verify

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
