"""C{python -m burrow}."""

import sys

from burrow.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
