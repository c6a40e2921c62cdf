"""Peers side by side: what each tracing library costs a FastAPI service, measured in one interleaved run."""
