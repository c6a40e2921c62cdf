"""`python -m otel_distro`: the same as the command `otel-distro`."""

from .launch import main

if __name__ == "__main__":
    main()
