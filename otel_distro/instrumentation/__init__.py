"""Instrumentation of libraries: ours where the hot path is, contrib's for the rest, one per call."""
