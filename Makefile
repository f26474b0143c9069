# A fresh Debian 12 machine with Rust needs no set-up beyond `make run` and `make test`.

CARGO ?= cargo
WEIR = target/release/weir

# What `make image` builds, for this kind of processor.
STATIC = $(shell uname -m)-unknown-linux-musl
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)

.PHONY: help run build image test test-full check-bench test-tools fmt lint generate validate bench bench-sim bench-record bench-load bench-tiers picture clean-runs

help: ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /	/' | expand -t 16

run: build ## build, run the built-in experiment, print where the report is
	$(WEIR) run

build: ## release build
	$(CARGO) build --release --locked --package weir

# A static binary, and nothing else, as user 65532. IMAGE names it; CERTIFICATES=/etc/ssl/certs/ca-certificates.crt
# adds authorities to trust. CONTRIBUTING.md says how it is pushed.
# No folder of this machine shows in it, and no symbols. (A profile's `strip` is lost where packages have
# settings of their own.)
PLAIN = -C strip=symbols --remap-path-prefix=$(CURDIR)=weir \
  --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=cargo
IMAGE ?= weir:$(VERSION)
image: ## container image of the static binary: target/image, an OCI layout
	@command -v musl-gcc >/dev/null || \
	  { echo 'musl-gcc is absent: apt-get install musl-tools' >&2; exit 1; }
	@[ -d "$$(rustc --print sysroot)/lib/rustlib/$(STATIC)" ] || rustup target add $(STATIC)
	RUSTFLAGS='$(PLAIN)' \
	  $(CARGO) build --release --locked --package weir --target $(STATIC)
	scripts/image --name $(IMAGE) --out $(TARGET_DIR)/image --entrypoint weir \
	  $(if $(CERTIFICATES),--certificates $(CERTIFICATES)) $(TARGET_DIR)/$(STATIC)/release/weir

test: test-tools ## all tests but the long ones; says what was skipped and why
	@scripts/test

test-full: ## all tests with real vLLM, LMCache and clients (installs them), changed verdict rules
	@scripts/test --build
	@WEIR_BIN=$${CARGO_TARGET_DIR:-target}/debug/weir scripts/test-tools --all
	@scripts/test-tools --kubernetes
	@scripts/test --full
	@scripts/mutants
	@$(MAKE) --no-print-directory check-bench

# A workspace of its own; the other benchmarks are tests' business.
check-bench: ## whether the benchmark with other simulators compiles
	$(CARGO) check --locked --target-dir bench/target --manifest-path bench/peers/Cargo.toml

test-tools: ## install what the tests need, where that is possible
	@scripts/test-tools

fmt: ## format
	$(CARGO) fmt --all

lint: ## clippy, warnings are errors
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

generate: ## write the generated references
	$(CARGO) dev generate

validate: build ## the simulator against published tables, row by row
	$(CARGO) run --locked --quiet --package weir-dev -- validate

bench: bench-sim bench-record ## all benchmarks

bench-sim: ## requests per second of the simulator, alone and beside its peer
	$(CARGO) bench --locked --package weir-sim --bench world
	$(CARGO) run --release --manifest-path bench/peers/Cargo.toml

bench-record: ## rows per second of the run folder's writer
	$(CARGO) bench --locked --package weir-record

# An hour on an idle machine; LOAD=--quick takes minutes.
bench-load: build ## load generators side by side against a server that knows the truth
	$(CARGO) build --release --locked --package weir-bench-load
	scripts/peers/clients guidellm aiperf
	$(CARGO) run --release --locked --package weir-bench-load -- --weir $(WEIR) $(LOAD)

# A quarter of an hour on an idle machine; TIERS=--quick takes minutes. Installs LMCache and vLLM for the
# CPU into ~/.cache/weir (docs/local.md has the size).
bench-tiers: ## tiers side by side with bare loops, fio, memcpy and LMCache
	$(CARGO) build --release --locked --package weir-bench-tiers
	lmcache=$$(scripts/peers/lmcache) || lmcache=; \
	  $(CARGO) run --release --locked --package weir-bench-tiers -- \
	  $${lmcache:+--lmcache "$$lmcache"} $(TIERS)

# Needs chromium and pngquant. At most 150 KB, so the colours are reduced to 64.
PICTURE = runs/picture
picture: build ## photograph the built-in experiment's report for the README
	rm -rf $(PICTURE)
	$(WEIR) run --quiet --out $(PICTURE)
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --virtual-time-budget=10000 \
	  --window-size=1200,1500 --screenshot=$(CURDIR)/docs/report.png \
	  file://$(CURDIR)/$(PICTURE)/report/report.html
	pngquant --force --output docs/report.png 64 docs/report.png

clean-runs: ## remove the run folders made here
	rm -rf runs
