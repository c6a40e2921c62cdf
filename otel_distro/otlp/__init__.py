"""OTLP over HTTP: own encoder to bytes, own client, a spool for what cannot be sent yet."""
