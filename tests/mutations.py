"""How many files tests change at random: EVERANIMATE_MUTATIONS of each kind, or the few that they take by default."""

import os


def mutations(usual):
    """How many changed files to try."""
    return int(os.environ.get("EVERANIMATE_MUTATIONS", usual))
