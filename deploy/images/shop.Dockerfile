# The two services of examples/shop with the distro: no telemetry in their code, one prefix in front of the usual command.
#   docker build -f deploy/images/shop.Dockerfile -t otel-distro/shop .

FROM python:3.13-slim-bookworm
ENV PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY examples/shop/requirements.txt examples/shop/requirements-postgresql.txt ./
RUN pip install -r requirements.txt -r requirements-postgresql.txt
COPY pyproject.toml README.md LICENSE /src/
COPY otel_distro /src/otel_distro
RUN pip install /src && python -m compileall -q /usr/local/lib/python3.13/site-packages/otel_distro
COPY examples/shop shop
USER 10001:10001
EXPOSE 8000 9464
CMD ["otel-distro", "run", "uvicorn", "shop.orders:app", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "20"]
