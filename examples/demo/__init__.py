"""The demo: runs the shop under `opentelemetry-instrument`, sends it requests, and shows what came out."""
