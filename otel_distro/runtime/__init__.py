"""Metrics of the running process: CPU, memory, threads, open files, uptime, garbage collection, event loops.

What only a collection reads, `process`, is imported with the first.
"""

from .event_loop import LoopLag
from .garbage import Garbage, observe_garbage
from .merges import MERGES

__all__ = ["MERGES", "Garbage", "LoopLag", "observe_garbage"]
