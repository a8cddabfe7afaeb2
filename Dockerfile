# The broker and command line as one static binary in an empty image.
#
#   docker build -t sealstream .
#   docker build -t sealstream --platform linux/arm64 --build-arg TARGET=aarch64-unknown-linux-musl .
#   docker build -t sealstream --build-arg FEATURES=otlp .                           with the export of traces
#
# docs/operations.md, "In a container", says how to run it.

FROM rust:1.95-bookworm AS build
ARG TARGET=x86_64-unknown-linux-musl
# musl-gcc compiles what ring and the allocator have in C.
RUN apt-get update \
    && apt-get install -y --no-install-recommends musl-tools \
    && rm -rf /var/lib/apt/lists/*
RUN rustup target add "$TARGET"
WORKDIR /source
COPY . .
ARG FEATURES=
# The whole program at once: a fifth smaller than by parts.
ENV CC_x86_64_unknown_linux_musl=musl-gcc \
    CC_aarch64_unknown_linux_musl=musl-gcc \
    CARGO_PROFILE_RELEASE_LTO=fat \
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
    CARGO_PROFILE_RELEASE_STRIP=symbols
RUN --mount=type=cache,target=/source/target \
    --mount=type=cache,target=/usr/local/cargo/registry \
    cargo build --release --locked --target "$TARGET" -p sealstream-broker --features "$FEATURES" --bin sealstream \
    && mkdir -p /image/data \
    && cp "target/$TARGET/release/sealstream" /image/sealstream

FROM scratch
LABEL org.opencontainers.image.title="Sealstream" \
      org.opencontainers.image.description="A message-streaming broker whose every byte on the wire is sealed" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.documentation="docs/operations.md"
# The numbers of nobody: there is no /etc/passwd to look names up in.
COPY --from=build --chown=65532:65532 /image/ /
USER 65532:65532
ENV SEALSTREAM_DATA_DIR=/data
WORKDIR /data
VOLUME /data
EXPOSE 7420/tcp 7420/udp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/sealstream", "health"]
ENTRYPOINT ["/sealstream"]
CMD ["serve"]
