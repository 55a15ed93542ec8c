"""`python .../driving/engines/install.py [FOLDER]` gets what the engine litert needs; see fetch.install_command.

A program of its own, which is started by its path: in ComfyUI's Python, this package is none that can be found by name.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    here = Path(__file__).resolve()
    # In the place of this folder, some of whose files are called as packages are.
    sys.path = [str(here.parents[3]), *(place for place in sys.path if Path(place) != here.parent)]
    from everanimate_core.driving.engines.fetch import main

    sys.exit(main(sys.argv[1:]))
