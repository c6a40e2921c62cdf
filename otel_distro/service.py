"""What the service is called, and how its worker processes come to know."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .process import Role, program

if TYPE_CHECKING:
    from . import settings

PARENT_SERVICE_NAME = "OTEL_DISTRO_PARENT_SERVICE_NAME"
"""Set in a program's environment for the workers that it spawns, whose command line no longer names it."""

_SERVERS = frozenset({"uvicorn", "gunicorn", "hypercorn", "granian", "daphne", "fastapi"})
_MAX_NAME = 255


def name(general: settings.General, orig_argv: Sequence[str], inherited: str | None = None) -> str:
    """`service.name`: what the user says, what the parent process left, or what the command line tells.

    Args:
        general: parsed settings.
        orig_argv: `sys.orig_argv`.
        inherited: see `inherited`.
    """
    return said(general) or inherited or service_name(orig_argv)


def said(general: settings.General) -> str | None:
    """What the user calls the service, None where nobody has said."""
    return general.service_name or general.resource_attributes.get("service.name")


def inherited(role: Role, environ: Mapping[str, str]) -> str | None:
    """The name that a parent process left to this worker."""
    return environ.get(PARENT_SERVICE_NAME) if role is Role.WORKER else None


def service_name(orig_argv: Sequence[str]) -> str:
    """The module or script that runs, as a service name.

    `uvicorn shop.orders:app` gives `shop.orders`, `python -m shop.orders` likewise, `python jobs/mail.py` gives
    `mail`; `unknown_service:python` remains for an interpreter without a program (specification, semantic conventions).
    """
    command = program(orig_argv)
    if command[:1] == ["-m"] and len(command) > 1:
        server, arguments = command[1].split(".")[0], command[2:]
        name = _served(arguments) if server in _SERVERS else command[1].removesuffix(".__main__")
    elif command and not command[0].startswith("-"):
        script = os.path.basename(command[0])  # noqa: PTH119 - pathlib is an import a start-up path need not pay
        name = _served(command[1:]) if script in _SERVERS else script.removesuffix(".py")
    else:
        name = ""
    return name[:_MAX_NAME] or f"unknown_service:{os.path.basename(sys.executable) or 'python'}"  # noqa: PTH119 - as above


def _served(arguments: Sequence[str]) -> str:
    """The module of the first `module:application` among a server's arguments."""
    for argument in arguments:
        module, colon, attribute = argument.partition(":")
        if colon and module and attribute and not module.startswith("-") and "/" not in module and " " not in module:
            if module.replace(".", "").replace("_", "").isalnum() and not module.replace(".", "").isdigit():
                return module
        elif argument.endswith(".py"):
            return os.path.basename(argument).removesuffix(".py")  # noqa: PTH119 - as above
    return ""
