"""scripts/collector-lint: what a collector's configuration will lose, before it does."""
