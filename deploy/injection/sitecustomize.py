"""Python runs this first in a pod that the OpenTelemetry operator has injected; nothing here may stop the application.

Whatever does not fit makes it step aside with one line. It knows no more than the standard library, of any Python 3.
"""

import glob
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
#: The directory that the operator has copied: this file lies in opentelemetry/instrumentation/auto_instrumentation.
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(_HERE)))
#: Two versions of these in one process do not go together.
_ONE_VERSION = ("opentelemetry_sdk", "opentelemetry_instrumentation")
#: FastAPI brings it, in whatever version: a newer one keeps what an older one had, and not the other way round.
_NOT_OLDER = "opentelemetry_api"


def _say(text):
    try:
        sys.stderr.write("otel-distro: warning: " + text + "; the application runs without telemetry\n")
    except Exception:  # closed, broken or absent: nobody listens
        return


def _version(folder, name):
    for path in glob.glob(os.path.join(glob.escape(folder), name + "-*.dist-info")):
        return os.path.basename(path)[len(name) + 1 : -len(".dist-info")]
    return None


def _misfit(packages):
    """Why the packages cannot be used here, or None."""
    if not os.path.isdir(packages):
        return "nothing is injected for Python %d.%d" % sys.version_info[:2]
    for name in (_NOT_OLDER, *_ONE_VERSION):
        ours = _version(packages, name)
        for folder in sys.path:
            theirs = _version(folder, name)
            if theirs not in (None, ours) and not (name == _NOT_OLDER and _newer(theirs, ours)):
                return "the application has %s %s, and %s is injected" % (name.replace("_", "-"), theirs, ours)
    return None


def _newer(theirs, ours):
    def numbers(version):
        return [int(part) for part in version.split(".")[:2]]

    return numbers(theirs)[0] == numbers(ours)[0] and numbers(theirs) >= numbers(ours)


def _next_sitecustomize():
    """What this file hides, and the application may count on."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _main():
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) not in (_HERE, _ROOT)]
    packages = os.path.join(_ROOT, "packages", "%d.%d" % sys.version_info[:2])
    try:
        misfit = _misfit(packages)
        if misfit is None:
            # Behind all that the application has: no package of ours hides one of its own.
            sys.path.append(packages)
            from otel_distro.start import start

            start()
        else:
            _say(misfit)
    except (Exception, SystemExit) as error:
        _say("could not start: %s: %s" % (type(error).__name__, error))
    _next_sitecustomize()


_main()
