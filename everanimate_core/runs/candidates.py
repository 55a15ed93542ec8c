"""What was made for one place of a take, told apart by its score."""

from .making import KeptChunk
from .takes import Candidate


class Candidates:
    """What was made for one place of a take: all of it, and the best, of which alone the frames are held."""

    def __init__(self) -> None:
        self.all: list[Candidate] = []
        self.best: KeptChunk | None = None

    def add(self, kept: KeptChunk) -> None:
        """One more; of several without a score the first stays the best."""
        self.all.append(Candidate(kept.record.key, kept.record.recipe.noise_seed, kept.record.drift, kept.record.score))
        if self.best is None or _score(kept) < _score(self.best):
            self.best = kept


def _score(kept: KeptChunk) -> float:
    """What tells candidates apart, less is better. Of several without a score the first is taken."""
    return float("inf") if kept.record.score is None else kept.record.score
