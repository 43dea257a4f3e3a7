"""Owns the version, the name of the root logger and `python -m casparian`; knows nothing of the product."""

from __future__ import annotations

__version__ = "0.1.0"

ROOT_LOGGER = "casparian"


def main() -> None:
    """Run the command line."""
    from cli.main import run

    run()


if __name__ == "__main__":
    main()
