"""Metrics of the running process: CPU, memory, threads, open files, uptime, garbage collection, event loops."""

from .event_loop import LoopLag
from .garbage import observe_garbage
from .merges import MERGES
from .process import observe_process

__all__ = ["MERGES", "LoopLag", "observe_garbage", "observe_process"]
