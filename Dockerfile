# docker build --tag sternway .        (or: make image)
#
# The runtime stage stands first and needs nothing of the build stage: `--target runtime` gives an image
# that lacks only the binary, which is how CI wraps the one that it has just built and tested.
ARG BASE=debian:bookworm-slim
ARG RUST=rust:1.95-bookworm

FROM ${BASE} AS runtime
# The log and its index · the console's socket. A bind mount needs the same owner.
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/sternway && \
    install -d -o 10001 -g 10001 -m 0755 /run/sternway
# Not root. The Docker socket is opened through its group: docker run --group-add "$(stat -c %g /var/run/docker.sock)"
USER 10001:10001
WORKDIR /var/lib/sternway
VOLUME /var/lib/sternway
LABEL org.opencontainers.image.title="sternway" \
      org.opencontainers.image.licenses="Apache-2.0"
# Asks the running bot over its own socket; it needs no shell and no curl.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["sternway", "console", "--config", "/etc/sternway/sternway.toml", "--ping"]
# glibc keeps for good what a start and each look at the stack free again, about a third of an idle bot's own memory.
ENV MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=131072 MALLOC_MMAP_THRESHOLD_=65536
STOPSIGNAL SIGTERM
ENTRYPOINT ["sternway"]
CMD ["serve", "--config", "/etc/sternway/sternway.toml"]

FROM ${RUST} AS build
WORKDIR /build
# A layer for the dependencies, made anew only when they change: built around an empty program.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches/swap benches/load benches/verify tests/soak && \
    echo "fn main() {}" | tee src/main.rs benches/swap/main.rs benches/load/main.rs benches/verify/main.rs tests/soak/main.rs && touch src/lib.rs && \
    cargo build --release --locked && cargo clean --release -p sternway && rm -rf src
COPY commands commands
COPY config config
COPY src src
RUN cargo build --release --locked

FROM runtime
COPY --from=build /build/target/release/sternway /usr/local/bin/sternway
