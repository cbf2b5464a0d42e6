# The sync server. The data directory is the volume /data:
#   docker build -t firebrick .
#   docker run -p 8909:8909 -v firebrick:/data firebrick
FROM rust:1.95-slim-trixie AS build
# aws-lc and SQLite are built from their C sources.
RUN apt-get update && apt-get install -y --no-install-recommends cmake gcc g++ libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package firebrick-cli --bin firebrick

FROM debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 8909 --home-dir /data --shell /usr/sbin/nologin firebrick \
    && install --directory --owner firebrick --group firebrick --mode 0700 /data
COPY --from=build /src/target/release/firebrick /usr/local/bin/firebrick
USER firebrick
ENV FIREBRICK_SERVER_DATA=/data \
    FIREBRICK_LISTEN=0.0.0.0:8909 \
    FIREBRICK_LOG=info \
    FIREBRICK_LOG_FORMAT=json
VOLUME /data
EXPOSE 8909
STOPSIGNAL SIGTERM
# With TLS: override this with --health-cmd, and https.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["curl", "--fail", "--silent", "--show-error", "--output", "/dev/null", "http://127.0.0.1:8909/readyz"]
ENTRYPOINT ["/usr/local/bin/firebrick", "serve"]
# The token for all stays in the container: `docker exec CONTAINER firebrick token mint acme/notes`.
CMD ["--no-token"]
