"""Drills: what breaks, what was lost, what came twice, what the counters and the sender said: `scripts/drills`."""
