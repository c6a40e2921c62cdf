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
#: What lies in an archive of pex and of shiv. Both put what else is in it on sys.path when they run.
_ARCHIVES = ("PEX-INFO", "_bootstrap/environment.py")


def _say(text):
    try:
        sys.stderr.write("otel-distro: warning: " + text + "; the application runs without telemetry\n")
    except Exception:  # closed, broken or absent: nobody listens
        return


def _version(folder, name):
    for path in glob.glob(os.path.join(glob.escape(folder), name + "-*.dist-info")):
        return os.path.basename(path)[len(name) + 1 : -len(".dist-info")]
    return None


def _first():
    """What Python puts in front of sys.path: the directory of the program, or the archive that it is; None for none."""
    if sys.flags.safe_path:
        return None
    name = sys.argv[0]
    if name in ("", "-", "-c", "-m"):
        return ""
    return name if os.path.isdir(name) or _archive(name) else os.path.dirname(os.path.realpath(name))


def _archive(name):
    from zipimport import ZipImportError, zipimporter

    try:
        return zipimporter(name)
    except ZipImportError:
        return None


def _unpacks_itself(first):
    """Whether what the program brings along is seen only when it runs."""
    archive = os.path.isfile(first) and _archive(first)
    for name in _ARCHIVES if archive else _ARCHIVES[:1]:
        try:
            if archive:
                archive.get_data(name)
            else:
                os.stat(os.path.join(first, name))
            return True
        except OSError:
            continue
    return False


def _misfit(packages, own):
    """Why the packages cannot be used beside those of `own` and of sys.path, or None."""
    if not os.path.isdir(packages):
        return "nothing is injected for Python %d.%d" % sys.version_info[:2]
    if any(map(_unpacks_itself, own)):
        return "the application is an archive with packages of its own, into which otel-distro has to be put"
    for name in (_NOT_OLDER, *_ONE_VERSION):
        ours = _version(packages, name)
        for folder in own + sys.path:
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
        # older Pythons do not know `safe_path`, and nothing is injected for them
        first = _first() if os.path.isdir(packages) else None
        own = [] if first is None else [first]
        misfit = _misfit(packages, own)
        if misfit is None:
            # Behind all that the application has: no package of ours hides one of its own.
            sys.path[:] = [*own, *sys.path, packages]
            try:
                from otel_distro.start import start

                start()
            finally:
                if own:
                    sys.path.remove(first)  # Python puts it there
        else:
            _say(misfit)
    except (Exception, SystemExit) as error:
        _say("could not start: %s: %s" % (type(error).__name__, error))
    _next_sitecustomize()


_main()
