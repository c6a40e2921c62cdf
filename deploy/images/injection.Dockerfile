# What the OpenTelemetry operator copies into a pod to instrument Python without touching its image.
#   docker build -f deploy/images/injection.Dockerfile -t otel-distro/injection .
# The operator runs `cp -r /autoinstrumentation/.` (or -musl) and puts two directories of the copy in front of PYTHONPATH: the one
# that holds sitecustomize.py here, and the root. Packages lie in neither, or they would hide those of the application;
# sitecustomize.py puts those for the application's Python behind all that the application has.

FROM python:3.13-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml README.md LICENSE /src/
COPY otel_distro /src/otel_distro
RUN pip wheel --no-deps --wheel-dir /wheels /src
COPY deploy/injection/packages /usr/local/bin/packages
RUN packages /wheels/otel_distro-*.whl manylinux2014 /out/autoinstrumentation/packages 3.11 3.12 3.13 \
 && packages /wheels/otel_distro-*.whl musllinux_1_2 /out/autoinstrumentation-musl/packages 3.11 3.12 3.13
COPY deploy/injection/sitecustomize.py /out/autoinstrumentation/opentelemetry/instrumentation/auto_instrumentation/
COPY deploy/injection/sitecustomize.py /out/autoinstrumentation-musl/opentelemetry/instrumentation/auto_instrumentation/
RUN chmod -R a+rX /out

# busybox brings the `cp` that the operator calls.
FROM busybox:1.37
COPY --from=build /out /
USER 10001:10001
