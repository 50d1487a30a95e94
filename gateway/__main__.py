"""The console script ``gateway``, and ``python -m gateway``."""

from __future__ import annotations

import sys

from gateway import cli

__all__ = ["main"]


def main() -> None:
    """Run the command line of the process."""
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
