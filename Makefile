# What people run. Each target does its own set-up on a fresh Debian or Ubuntu
# with a Rust toolchain, and says what it installs.

.PHONY: try test lint bench test-versions doc reference

CARGO ?= cargo

## A throw-away Redis with sample data, and a chat to try everything in.
try:
	@scripts/setup try
	@$(CARGO) build --locked
	@$(CARGO) run --quiet --locked -- try $(ARGS)

## Every test: units, stories against real servers, the house's arrows.
test:
	@scripts/setup test
	scripts/run-tests --locked $(ARGS)
	$(CARGO) test --locked --doc --quiet

## Format, clippy, documentation, dependencies.
lint:
	@scripts/setup lint
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets --quiet -- -D warnings
	# Contributors read the private parts too, so links to them are good links.
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --locked --no-deps --document-private-items --quiet
	scripts/deny

## Start-up, idle memory, latency and throughput of journalled commands; the store alone; Slack's acknowledgements.
bench:
	@scripts/setup test
	$(CARGO) bench --locked --benches $(ARGS)
	scripts/bench-slack --locked

## The stories against Redis 6.2 and 8 and Valkey, unpacked aside.
test-versions:
	@scripts/setup versions
	scripts/test-versions $(ARGS)

## The documentation of the code, in target/doc.
doc:
	$(CARGO) doc --locked --no-deps --document-private-items
