"""PyInstaller runs this for a program that imports otel_distro: what is imported by name only, and entry points."""

from PyInstaller.utils.hooks import (  # pyright: ignore[reportMissingModuleSource]
    collect_submodules,
    copy_metadata,
)

hiddenimports = collect_submodules("otel_distro", filter=lambda name: "._pyinstaller" not in name)
datas = copy_metadata("otel-distro")
