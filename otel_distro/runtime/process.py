"""What the kernel knows of this process, read when metrics are collected and at no other time.

Source: semantic conventions 1.44, "Process metrics". Linux tells everything by `/proc`; elsewhere what `resource` and
`os` tell, and what they do not tell is left out instead of guessed (a peak is no usage).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from opentelemetry.metrics import CallbackOptions, Meter, Observation

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_STAT = "/proc/self/stat"
_DESCRIPTORS = "/proc/self/fd"
_DESCRIPTORS_ELSEWHERE = "/dev/fd"
_LONGEST = 4096


class Stat(NamedTuple):
    """The fields of `/proc/self/stat` that are shown.

    Attributes:
        threads: of the process, those of C libraries included.
        virtual: bytes of address space.
        resident: bytes in memory.
        started: seconds after the boot.
    """

    threads: int
    virtual: int
    resident: int
    started: float


def read_stat(path: str = _STAT) -> Stat | None:
    """The process's fields as the kernel has them now; None where there is no such file.

    Args:
        path: of the file; see proc(5).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            text = os.read(descriptor, _LONGEST)
        finally:
            os.close(descriptor)
        # the second field is the program's name, in parentheses, and may contain both blanks and parentheses
        fields = text[text.rindex(b")") + 2 :].split()
        ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
        return Stat(int(fields[17]), int(fields[20]), int(fields[21]) * page, int(fields[19]) / ticks)
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def open_descriptors(directory: str = _DESCRIPTORS, elsewhere: str = _DESCRIPTORS_ELSEWHERE) -> int | None:
    """How many file descriptors are open; None where nothing tells.

    Args:
        directory: of Linux, with an entry for each; its size is their number since Linux 6.2, whatever that is.
        elsewhere: the same of other systems, without such a size.
    """
    try:
        number = os.stat(directory).st_size  # noqa: PTH116 - no object for each scrape
        return number or len(os.listdir(directory)) - 1  # noqa: PTH208 - one of them is the listing's own
    except OSError:
        pass
    try:
        return len(os.listdir(elsewhere)) - 1  # noqa: PTH208 - as above
    except OSError:
        return None


class ProcessMetrics:
    """The callbacks.

    Args:
        stat: reads the process's fields.
        descriptors: counts open file descriptors.
    """

    def __init__(
        self,
        stat: Callable[[], Stat | None] = read_stat,
        descriptors: Callable[[], int | None] = open_descriptors,
    ) -> None:
        self._read = stat
        self._descriptors = descriptors
        self._began = time.monotonic()
        self._round: tuple[CallbackOptions, Stat | None] | None = None

    def cpu_time(self, _: CallbackOptions) -> Iterator[Observation]:
        """Seconds of CPU, by mode."""
        times = os.times()
        user, system = times.user, times.system
        if resource is not None:
            used = resource.getrusage(resource.RUSAGE_SELF)  # microseconds where `os.times` has hundredths
            user, system = used.ru_utime, used.ru_stime
        yield Observation(user, {"cpu.mode": "user"})
        yield Observation(system, {"cpu.mode": "system"})

    def context_switches(self, _: CallbackOptions) -> Iterator[Observation]:
        """How often the process waited, and how often it was made to."""
        if resource is not None:
            used = resource.getrusage(resource.RUSAGE_SELF)
            yield Observation(used.ru_nvcsw, {"process.context_switch.type": "voluntary"})
            yield Observation(used.ru_nivcsw, {"process.context_switch.type": "involuntary"})

    def resident(self, options: CallbackOptions) -> Iterator[Observation]:
        """Bytes in memory."""
        if (stat := self._stat(options)) is not None:
            yield Observation(stat.resident)

    def virtual(self, options: CallbackOptions) -> Iterator[Observation]:
        """Bytes of address space."""
        if (stat := self._stat(options)) is not None:
            yield Observation(stat.virtual)

    def threads(self, options: CallbackOptions) -> Iterator[Observation]:
        """Threads."""
        if (stat := self._stat(options)) is not None:
            yield Observation(stat.threads)

    def descriptors(self, _: CallbackOptions) -> Iterator[Observation]:
        """Open file descriptors."""
        if (number := self._descriptors()) is not None:
            yield Observation(number)

    def uptime(self, options: CallbackOptions) -> Iterator[Observation]:
        """Seconds since the process started; where nobody tells that, since the distro did."""
        stat = self._stat(options)
        clock = getattr(time, "CLOCK_BOOTTIME", None)
        if stat is None or clock is None:
            yield Observation(time.monotonic() - self._began)
        else:
            yield Observation(max(0.0, time.clock_gettime(clock) - stat.started))

    def _stat(self, options: CallbackOptions) -> Stat | None:
        """Read once a collection: all callbacks of one get the same options."""
        if self._round is None or self._round[0] is not options:
            self._round = (options, self._read())
        return self._round[1]


def observe_process(
    meter: Meter, metrics: ProcessMetrics | None = None, *, killed: Callable[[], int] | None = None
) -> None:
    """Make the instruments.

    Args:
        meter: of the runtime's scope.
        metrics: what they read.
        killed: how many others this process has found killed; None where it knows of none.
    """
    read = ProcessMetrics() if metrics is None else metrics
    meter.create_observable_counter(
        "process.cpu.time", [read.cpu_time], "s", "Total CPU seconds broken down by different CPU modes."
    )
    meter.create_observable_counter(
        "process.context_switches",
        [read.context_switches],
        "{context_switch}",
        "Number of times the process has been context switched.",
    )
    for name, callback, unit, description in (
        ("process.memory.usage", read.resident, "By", "The amount of physical memory in use."),
        ("process.memory.virtual", read.virtual, "By", "The amount of committed virtual memory."),
        ("process.thread.count", read.threads, "{thread}", "Process threads count."),
        (
            "process.unix.file_descriptor.count",
            read.descriptors,
            "{file_descriptor}",
            "Number of unix file descriptors in use by the process.",
        ),
    ):
        meter.create_observable_up_down_counter(name, [callback], unit, description)
    meter.create_observable_gauge("process.uptime", [read.uptime], "s", "The time the process has been running.")
    meter.create_observable_up_down_counter(
        "otel_distro.process.count",
        [lambda _: [Observation(1)]],
        "{process}",
        "Live processes whose metrics these are.",
    )
    if killed is not None:
        meter.create_observable_counter(
            "otel_distro.process.killed",
            [lambda _: [Observation(killed())]],
            "{process}",
            "Processes that had served requests and ended without a word: by kill -9, for want of memory, by a crash.",
        )
