"""Python runs this before a program that was started by `otel-distro run`; nothing here may stop that program."""

import os
import sys


def _start() -> None:
    try:
        from otel_distro.start import start

        start()
    except ModuleNotFoundError as error:
        # the program runs on another interpreter than the launcher
        _say(f"not installed for {sys.executable} ({error}), install it there; the program runs without it")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the last guard before the application
        _say(f"could not start: {type(error).__name__}: {error}")


def _say(text: str) -> None:
    try:
        sys.stderr.write(f"otel-distro: warning: {text}\n")
    except Exception:  # noqa: BLE001 - closed, broken or absent: nobody listens, and the program runs all the same
        return


def _run_the_next_sitecustomize() -> None:
    """This file shadows a sitecustomize of the user's own, which must run all the same."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    here = os.path.dirname(__file__)  # noqa: PTH120 - pathlib is an import of 5 ms
    sys.path[:] = [entry for entry in sys.path if entry != here]
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    if "auto_instrumentation" in str(spec.origin):
        return  # the stock launcher's: everything is set up already
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


_start()
_run_the_next_sitecustomize()
