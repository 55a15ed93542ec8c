"""`python -m everanimate_core` is the `everanimate` command."""

import sys

from .cli.main import main

# Processes that help it read this file, too.
if __name__ == "__main__":
    sys.exit(main())
