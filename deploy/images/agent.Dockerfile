# collector.Dockerfile with the agent's build in it, which knows pods and hosts: for the configurations agent-kubernetes* and agent-host*.
#   docker build -f deploy/images/agent.Dockerfile -t otel-distro/otelcol-agent:0.155.0 .

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY scripts/go-build scripts/build-collector scripts/
COPY collector collector
RUN install -D -m 0755 "$(scripts/build-collector agent)" /out/usr/bin/otelcol \
 && install -D -m 0755 "$(scripts/build-collector start)" /out/usr/bin/otelcol-start \
 && install -d -m 0700 /out/var/lib/otelcol

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/usr/bin /usr/bin
# A new named volume takes the owner of the directory that it is mounted on.
COPY --from=build --chown=10001:10001 /out/var/lib/otelcol /var/lib/otelcol
USER 10001:10001
EXPOSE 4317 4318 8888 13133
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/bin/otelcol-start", "--health"]
ENTRYPOINT ["/usr/bin/otelcol-start"]
CMD ["--config=/etc/otelcol/config.yaml"]
