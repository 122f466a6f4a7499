"""C{burrow}, and C{python -m burrow}."""

import sys


def main() -> int:
    """Run the command line. A Ctrl-C before it is ready for one ends it as one later does."""
    try:
        from burrow.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
