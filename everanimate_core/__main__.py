"""`python -m everanimate_core` is the `everanimate` command."""

import sys

from .cli.main import main

sys.exit(main())
