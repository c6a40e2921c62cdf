"""Entry point `hook-dirs` of `pyinstaller40`: where PyInstaller finds what it cannot see in our imports."""

import os


def hook_directories() -> list[str]:
    """The directory of `hook-otel_distro.py`."""
    return [os.path.dirname(__file__)]  # noqa: PTH120 - plain text is what is asked for
