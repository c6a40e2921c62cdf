"""Sending and receiving on a socket within a deadline, with as few system calls that give up the interpreter as can be.

A Python socket with a timeout polls before each step, and each call lets go of the interpreter. While the application
keeps it busy, every turn of its event loop then wakes the sender's thread in vain, until that happens to be first:
each such call cost tens of wake-ups on both sides. A kernel timeout needs one call a step.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import Any

from otel_distro.guard import let_through
from otel_distro.process import Deadline

_TIMEVAL = struct.Struct("ll")
_LAST_DATA_RECV = 52
"""Where `struct tcp_info` has the milliseconds since data came (linux/tcp.h)."""
_KERNEL = sys.platform == "linux" and _TIMEVAL.size == 16


def left(deadline: Deadline) -> float:
    """Seconds until the deadline, more than 0.

    Raises:
        TimeoutError: it has passed.
    """
    seconds = deadline.left()
    if seconds <= 0:
        raise TimeoutError("no time left")
    return seconds


def send(sock: socket.socket, data: bytes, deadline: Deadline) -> None:
    """Send all of `data`.

    Raises:
        TimeoutError: not within the deadline.
        OSError: the connection broke.
    """
    if not by_kernel(sock):
        sock.settimeout(left(deadline))
        sock.sendall(data)
        return
    waiting = memoryview(data)
    while waiting:
        _limit(sock, socket.SO_SNDTIMEO, left(deadline))
        try:
            waiting = waiting[sock.send(waiting) :]
        except BlockingIOError:
            raise TimeoutError("the kernel's timeout") from None


def receive(sock: socket.socket, buffer: Any, deadline: Deadline) -> int:
    """Receive into `buffer` what is there, waiting for the first byte; 0 at the end.

    Raises:
        TimeoutError: nothing within the deadline.
        OSError: the connection broke.
    """
    if not by_kernel(sock):
        sock.settimeout(left(deadline))
        return sock.recv_into(buffer)
    flags = _patience(sock, deadline)
    try:
        return sock.recv_into(buffer, 0, flags)
    except BlockingIOError:
        raise TimeoutError("the kernel's timeout") from None


def peek(sock: socket.socket, most: int, deadline: Deadline) -> bytes:
    """What is there, at most so many bytes, waiting for the first of them and leaving all; nothing at the end.

    Only for sockets whose time the kernel keeps.

    Raises:
        TimeoutError: nothing within the deadline.
    """
    flags = _patience(sock, deadline)
    try:
        return sock.recv(most, socket.MSG_PEEK | flags)
    except BlockingIOError:
        raise TimeoutError("the kernel's timeout") from None
    except ConnectionError:
        return b""


def quiet_for(sock: socket.socket) -> float:
    """Seconds since the last bytes came in, in steps of the kernel's clock (4 ms mostly); 0 where nobody knows."""
    if not by_kernel(sock):
        return 0.0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECV + 4)
    except OSError as error:
        let_through(error)
        return 0.0
    return struct.unpack_from("I", info, _LAST_DATA_RECV)[0] / 1000 if len(info) >= _LAST_DATA_RECV + 4 else 0.0


def by_kernel(sock: socket.socket) -> bool:
    """Whether the kernel keeps the time of this socket, so that bytes can also be sent and seen without waiting."""
    # TLS would take the kernel's timeout for a socket that does not block
    return _KERNEL and type(sock) is socket.socket


def _patience(sock: socket.socket, deadline: Deadline) -> int:
    """Let the next receiving wait until the deadline; the flags for it.

    After the deadline what is there is still taken: a process that was stopped meanwhile (a paused machine) finds the
    answer here, and must not send again what has been taken.
    """
    seconds = deadline.left()
    if seconds <= 0:
        return socket.MSG_DONTWAIT
    _limit(sock, socket.SO_RCVTIMEO, seconds)
    return 0


def _limit(sock: socket.socket, option: int, seconds: float) -> None:
    if sock.gettimeout() is not None:
        sock.settimeout(None)
    whole = int(seconds)
    # zero would be no limit at all
    sock.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(whole, max(int((seconds - whole) * 1e6), 1)))
