"""The far end of every peer: a process of its own that takes everything and counts what arrived."""
