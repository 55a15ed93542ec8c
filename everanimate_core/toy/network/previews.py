"""How the toys' latents look as colours, for previews while they are sampled: a linear map for each toy's VAE."""

import json

from .state import FOLDER

WEIGHTS = FOLDER / "previews.json"
# The names of the maps: of the toy's latents (normalised), and of the colouring toy's (times the VAE's scale). Both are
# as a network reads them.
ANIMATE, COLOUR = "animate", "colour"


def read_preview_map(name: str) -> tuple[list[list[float]], list[float]]:
    """Factors [16][3] and bias [3] of the map ANIMATE or COLOUR: latents @ factors + bias are colours in -1..1."""
    found = json.loads(WEIGHTS.read_text(encoding="utf-8"))[name]
    return found["factors"], found["bias"]
