"""PostgreSQL from the Debian package, with one user, one password and one database."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.servers.base import Server, ServerError
from tests.servers.binaries import debian_binary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_USER, _PASSWORD, _DATABASE = "app", "app-secret", "app"


class PostgresServer(Server):
    """A PostgreSQL server of its own cluster; data survives `kill` and `restart`."""

    def __init__(self, logs: Path, name: str = "postgres") -> None:
        super().__init__(name, logs)
        # PostgreSQL refuses to run as root; Debian's package brings the account.
        self.run_as = "postgres" if os.geteuid() == 0 else None

    def url(self, driver: str = "") -> str:
        """Database URL; `driver` is SQLAlchemy's (`asyncpg`, `psycopg`), none gives a plain `postgresql://`."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://{_USER}:{_PASSWORD}@127.0.0.1:{self.ports['main']}/{_DATABASE}"

    def prepare(self) -> None:
        if self.run_as:
            shutil.chown(self.data, self.run_as, self.run_as)
        if (self.data / "cluster").exists():
            return
        password = self.data / "password"
        password.write_text(_PASSWORD)
        password.chmod(0o644)  # a throw-away secret on loopback, read by the account above
        self._run("initdb", "--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256",
                  f"--username={_USER}", f"--pwfile={password}", f"--pgdata={self.data / 'cluster'}")  # fmt: skip

    def command(self) -> Sequence[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.ports["main"]),
            "unix_socket_directories": str(self.data),
            "fsync": "off",  # a killed process loses nothing by it, only a lost machine would
            "shared_buffers": "16MB",
        }
        program = debian_binary("postgres", "postgresql")
        return [program, "-D", str(self.data / "cluster"), *(f"--{key}={value}" for key, value in settings.items())]

    def healthy(self) -> bool:
        # The first answer makes the database; later ones find it.
        return (
            self._code("psql", f"--dbname={_DATABASE}", "--command=SELECT 1") == 0
            or self._code("createdb", _DATABASE) == 0
        )

    def _code(self, program: str, *arguments: str) -> int:
        """Exit code of a client program against this server."""
        path = debian_binary(program, "postgresql")
        environment = os.environ | self._client_environment()
        return subprocess.run([path, *arguments], env=environment, capture_output=True, check=False).returncode

    def _client_environment(self) -> Mapping[str, str]:
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.ports["main"]),
            "PGUSER": _USER,
            "PGPASSWORD": _PASSWORD,
            "PGCONNECT_TIMEOUT": "2",
        }

    def _run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs under the server's account.

        Raises:
            ServerError: it failed; the message holds what it printed.
        """
        command = [debian_binary(program, "postgresql"), *arguments]
        result = subprocess.run(
            command,
            user=self.run_as,
            group=self.run_as,
            extra_groups=[] if self.run_as else None,
            cwd=self.data,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise ServerError(f"{program} failed: {result.stderr.strip() or result.stdout.strip()}")
