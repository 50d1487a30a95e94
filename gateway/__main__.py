"""The console script ``gateway``, and ``python -m gateway``."""

from __future__ import annotations

from gateway import cli
from gateway.process.leave import leave

__all__ = ["main"]


def main() -> None:
    """Run the command line of the process."""
    leave(cli.main())


if __name__ == "__main__":
    main()
