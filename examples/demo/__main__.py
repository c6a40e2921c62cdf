"""`python -m examples.demo`: the demo in the environment of this Python; `./scripts/demo` makes one first."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from .errors import DemoError
from .options import Options, parse

INTERRUPTED = 130  # what a shell gives for SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; gives the exit code: 0, 1 with one line about what is wrong, 130 after Ctrl-C."""
    options = parse(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    directory = Path(tempfile.mkdtemp(prefix="otel-distro-demo-"))
    keep_directory = False
    try:
        _run(options, directory)
        return 0
    except KeyboardInterrupt:
        print("\ndemo: stopped", file=sys.stderr)
        return 0 if options.keep else INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except DemoError as error:
        keep_directory = str(directory) in str(error)
        print(f"demo: {error}", file=sys.stderr)
        return 1
    finally:
        if not keep_directory:
            shutil.rmtree(directory, ignore_errors=True)


def _run(options: Options, directory: Path) -> None:
    from .services import check_requirements

    check_requirements()
    # Only now: these import what may not be installed.
    from . import embedded
    from .screen import Screen

    screen = Screen()
    if options.stack:
        from . import stack

        stack.run(screen, directory, options)
    else:
        embedded.run(screen, directory, options)


def _end(number: int, frame: FrameType | None) -> None:
    """SIGTERM and SIGHUP end the demo in order, with its children."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
