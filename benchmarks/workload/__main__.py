"""`python benchmarks/workload MODE`: the measured process.

Modes:
    drive: builds the applications, then obeys one JSON command a line on its standard input and answers one a line.
    serve: runs the full application under uvicorn on the port given.
    import: imports what an application of the four libraries imports, and prints its resident memory.
    use: the same, after a request, an SQL statement and an HTTP call.
    count: sends requests, of which callgrind counts the instructions.
    bytecodes: the same, and the interpreter's own steps are counted by function.
    encode: measures how long a batch of spans takes to become OTLP bytes.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Reads the mode and its options, and runs it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=("drive", "serve", "import", "use", "count", "bytecodes", "encode"))
    parser.add_argument("--setup", default="nothing")
    parser.add_argument("--wrap", default="")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--encoder", default="upstream")
    parser.add_argument("--case", default="plain")
    parser.add_argument("--requests", type=int, default=512)
    parser.add_argument("--output", default="")
    options = parser.parse_args()
    if options.mode in ("drive", "serve", "count", "bytecodes"):
        _end_with_parent()
    if options.mode == "drive":
        from drive import drive

        # Libraries print: answers go to a copy of the standard output, prints to the error output.
        answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        drive(sys.stdin, answers, options.setup, options.wrap)
    elif options.mode == "serve":
        from serve import serve

        serve(options.setup, options.port)
    elif options.mode in ("import", "use"):
        from startup import report

        report(options.setup, used=options.mode == "use")
    elif options.mode == "count":
        from count import callgrind, count

        count(options.setup, options.wrap, options.case, options.requests, callgrind)
    elif options.mode == "bytecodes":
        from bytecodes import Bytecodes
        from count import count

        count(options.setup, options.wrap, options.case, options.requests, Bytecodes(options.output))
    else:
        from encode import report_encoding

        report_encoding(options.encoder)


def _end_with_parent() -> None:
    """Has the kernel end this process when its parent does: it may be stopped then, and would stay for ever."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
