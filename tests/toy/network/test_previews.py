"""The colours in which the toys' latents are previewed: those of the frames that they were made from."""

import json

import pytest
import torch
from torch.nn.functional import avg_pool2d

from everanimate_core.toy.learning.fit_previews import LIGHT_OF, codecs, films_of, main, shown_by_latents
from everanimate_core.toy.network.previews import ANIMATE, COLOUR, WEIGHTS, read_preview_map


@pytest.mark.parametrize(("name", "mean", "most"), [(ANIMATE, 0.0045, 0.06), (COLOUR, 0.014, 0.11)])
def test_a_preview_has_the_colours_of_the_frames(name, mean, most):
    """Over worlds that neither the VAE nor the map was made from, each colour as a share of the way to white."""
    codec, scale = codecs()[name]
    factors, bias = map(torch.tensor, read_preview_map(name))
    off = []
    for film in films_of(range(8), LIGHT_OF[name]):
        latents = scale * codec.encode(film)[0]
        colours = (torch.einsum("ctyx,cr->tyxr", latents, factors) + bias) / 2 + 0.5
        small = avg_pool2d(shown_by_latents(film).movedim(-1, 1), 8).movedim(1, -1)
        off.append((colours.clamp(0, 1) - small).abs())
    off = torch.stack(off)
    assert off.mean() < mean and off.max() < most


def test_the_picture_of_a_latent_is_the_mean_of_its_frames():
    film = torch.tensor([5.0, 1.0, 2.0, 3.0, 6.0]).view(5, 1, 1, 1)
    assert shown_by_latents(film).flatten().tolist() == [5.0, 3.0]


def test_the_maps_are_what_the_script_makes(tmp_path):
    main(["--out", str(tmp_path / "made")])
    made = json.loads((tmp_path / "made" / WEIGHTS.name).read_text())
    kept = json.loads(WEIGHTS.read_text())
    assert made["command"] == kept["command"]
    for name in (ANIMATE, COLOUR):
        for part in ("factors", "bias"):
            assert torch.allclose(torch.tensor(made[name][part]), torch.tensor(kept[name][part]), atol=2e-4), name
