"""The colours of the toys' latents: `python -m everanimate_core.toy.learning.fit_previews --out DIR`.

DIR receives previews.json: for each toy's VAE the linear map from its latents to colours, in least squares over frames
of the toy's world. Fitted in seconds, and always anew.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...backends.cog_codec import CogCodec
from ...json_files import write_json
from ...latents import preview_map
from ...plan import TEMPORAL_FACTOR
from ...ports import Codec
from ..network import colour_vae, vae
from ..network.previews import ANIMATE, COLOUR, WEIGHTS
from ..world.scene import LIGHTS, Scene
from ..world.world import World
from .films import FIRST_SEED

WORLDS, FRAMES, DECIMALS = range(FIRST_SEED, FIRST_SEED + 12), range(17), 4
# The light of the worlds that each toy is shown.
LIGHT_OF = {ANIMATE: LIGHTS, COLOUR: LIGHTS[:1]}


def codecs() -> dict[str, tuple[Codec, float]]:
    """The VAE of each map, and what a network reads its latents times."""
    return {
        ANIMATE: (vae.ToyCodec(vae.load_vae()), 1.0),
        COLOUR: (CogCodec(colour_vae.load_vae()), colour_vae.SCALE),
    }


def films_of(seeds: Sequence[int], lights: Sequence[str]) -> list[Tensor]:
    """A short film [F, 64, 64, 3] of each of these worlds in each light, in 0..1."""
    return [World(seed, scene=Scene(light=light)).frames(FRAMES) for seed in seeds for light in lights]


def shown_by_latents(film: Tensor) -> Tensor:
    """The picture that each latent of a film stands for, the mean of its frames: [4n + 1, ...] -> [n + 1, ...]."""
    first = film[:1].expand(TEMPORAL_FACTOR - 1, *film.shape[1:])
    return torch.cat([first, film]).unflatten(0, (-1, TEMPORAL_FACTOR)).mean(dim=1)


def fitted(films: Sequence[Tensor], codec: Codec, scale: float) -> dict[str, list]:
    """The map of a VAE: factors [16][3] and bias [3]."""
    latents = torch.cat([scale * codec.encode(film)[0] for film in films], dim=1)
    pictures = torch.cat([shown_by_latents(film) for film in films])
    # All of them, one below the other, as one picture.
    factors, bias = preview_map(latents.flatten(1, 2), pictures.flatten(0, 1))
    rounded = [[round(value, DECIMALS) for value in row] for row in [*factors.tolist(), bias.tolist()]]
    return {"factors": rounded[:-1], "bias": rounded[-1]}


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m everanimate_core.toy.learning.fit_previews", description="Fit the colours of the toys' latents."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for previews.json")
    folder = parser.parse_args(arguments).out
    folder.mkdir(parents=True, exist_ok=True)
    maps = {name: fitted(films_of(WORLDS, LIGHT_OF[name]), *codec) for name, codec in codecs().items()}
    write_json(folder / WEIGHTS.name, {"command": f"{parser.prog} --out DIR", **maps})


if __name__ == "__main__":
    main()
