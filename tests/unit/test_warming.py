"""Warming: what the first request would compile is compiled when a server begins to listen."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from types import ModuleType

from otel_distro.guard import Guard
from otel_distro.warming import Warming


def test_a_server_is_warm_before_it_listens() -> None:
    """The server's own startup runs after it, with its arguments and its answer; a second server costs nothing."""

    class Server:
        async def startup(self, sockets: list[int]) -> list[int]:
            return sockets

    module = ModuleType("uvicorn.server")
    module.Server = Server  # type: ignore[attr-defined]
    Warming(Guard()).watch_uvicorn(module)
    assert asyncio.run(Server().startup([3])) == [3]


def test_the_first_question_compiles_nothing_after_it() -> None:
    """With SQL in use, neither a statement nor a secret's name brings an expression that was not compiled before."""
    code = (
        "import re, otel_distro.instrumentation.sql_summary as s; from otel_distro.warming import warm; warm()\n"
        "from otel_distro.redaction import sanitize_sql, is_secret_field; from re import _compiler\n"
        "seen = []; original = _compiler.compile; _compiler.compile = lambda *a: seen.append(a) or original(*a)\n"
        "s.summarize(sanitize_sql('SELECT \"b\" FROM t WHERE x = 1', 'postgresql')); is_secret_field('password')\n"
        "print(seen)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
