"""A process whose wall clock jumps, alone: `clock_gettime` of its vDSO is exchanged for one that adds seconds.

libfaketime cannot do it, for a static program loads no library; a time namespace has no wall clock; the machine's own
is everybody's. Linux on x86-64.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from pathlib import Path

# What stands at clock_gettime afterwards: the system call, and for CLOCK_REALTIME (0) the seconds behind the code.
_CODE = bytes.fromhex(
    "b8e4000000"  # mov eax, 228 (clock_gettime)
    "0f05"  # syscall
    "85ff"  # test edi, edi
    "750a"  # jnz to the return
    "488b0d0e000000"  # mov rcx, [rip+14], which is byte 32
    "48010e"  # add [rsi], rcx
    "31c0"  # xor eax, eax
    "c3"  # ret
)
_SECONDS = 32
_NAMES = (b"__vdso_clock_gettime", b"clock_gettime")


def jump(pid: int, seconds: int) -> None:
    """Set the wall clock of a process to the machine's plus `seconds`; 0 ends the difference.

    Raises:
        OSError: the process is not ours, or not there.
        LookupError: its vDSO has no clock_gettime.
    """
    start, end = _vdso(pid)
    with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
        memory.seek(start)
        place = start + _function(memory.read(end - start))
        while not _stopped_elsewhere(pid, start, end):
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.001)
        try:
            memory.seek(place)
            memory.write(_CODE.ljust(_SECONDS, b"\x90") + struct.pack("<q", seconds))
        finally:
            os.kill(pid, signal.SIGCONT)


def _vdso(pid: int) -> tuple[int, int]:
    """Where the kernel put its functions in the memory of a process."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if line.endswith("[vdso]"):
            first, last = line.split()[0].split("-")
            return int(first, 16), int(last, 16)
    raise LookupError("this process has no vDSO")


def _function(image: bytes) -> int:
    """Offset of clock_gettime in the ELF image: through the table of its symbols."""
    sections, size, count = struct.unpack_from("<Q", image, 40)[0], *struct.unpack_from("<HH", image, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", image, sections + size * number) for number in range(count)]
    symbols = next(header for header in headers if header[1] == 11)  # SHT_DYNSYM
    names = headers[symbols[6]][4]
    for offset in range(symbols[4], symbols[4] + symbols[5], symbols[9]):
        name, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", image, offset)
        if image[names + name : image.index(b"\0", names + name)] in _NAMES:
            return int(value)
    raise LookupError("no clock_gettime in this vDSO")


def _stopped_elsewhere(pid: int, start: int, end: int) -> bool:
    """Stop every thread; whether none of them stands in the code that is about to change."""
    os.kill(pid, signal.SIGSTOP)
    for _ in range(1000):
        places = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/syscall")]
        if all(place[0] != "running" for place in places):
            return all(not start <= int(place[-1], 16) < end for place in places)
        time.sleep(0.001)
    raise OSError(f"process {pid} does not stop")
