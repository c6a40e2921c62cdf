"""A Redis server in Python: `python -m examples.demo.redis_server PORT`; ends at SIGTERM."""

from __future__ import annotations

import sys

from fakeredis import TcpFakeServer


def main() -> None:
    """Serve until told to end."""
    TcpFakeServer(("127.0.0.1", int(sys.argv[1])), server_type="redis").serve_forever()


if __name__ == "__main__":
    main()
