"""Material to train the colouring toy's memory on: clips in which clothes show their back, behind what went before.

A clip is a short window: it begins where a window may begin, and what the video was until then is what a long animation
would have made by that time, with the frames that both share.
"""

from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ...longanimation.lines import white_on_black
from ...longanimation.video_memory import chosen
from ...longanimation.vision import crops
from ...ports import Codec
from ..network.colour_memory import SETTINGS as MEMORY
from ..network.colour_memory import SIDE, looked_at
from ..network.colour_state import SETTINGS
from ..world.raster import SIZE
from ..world.scene import Scene
from ..world.sides import EVERY, showings
from ..world.world import World

SCENE = Scene(two_sided=True)
# Worlds of the clips: no other training has them.
FIRST_SEED = 3_000_000
# Frames of a clip: the reference and these make ten slots.
FRAMES = 33
# Which showing of its world a clip is about: the first, whose colour nobody can know, less often than later ones.
SHOWINGS = (0, 1, 1, 2, 2)
# Clips of these numbers begin anywhere, so that most of them show clothes from the front alone: there, the memory has
# nothing to say.
ANYWHERE, STARTS = range(640, 896), (40, 460)
# A frame shows much of the clothes from behind where so many pixels show nothing else.
LEAST = 60
# A clip begins so many frames after the showing, at least and at most: much of the back is in it.
OFFSETS = (-20, 30)


def make_memory_film(number: int, codec: Codec) -> dict[str, Tensor]:
    """Film `number`; latents as the VAE makes them, slot 0 is the reference's.

    colour, lines: [16, 10, 8, 8] of the clip. behind: [10, 8, 8], how much of each of its cells shows clothes from
    behind. past: [24, SIDE, SIDE, 3] uint8, frames at equal distances up to those that the clip shares with what was
    before; recent: [20, SIDE, SIDE, 3], the last of these without gaps. past_turned [24], recent_turned [20], bool:
    whether they show much of the clothes from behind. colours: [3, 3] of shirt, trousers, and clothes from behind.
    """
    random = Random(f"memory film {number}")
    world = World(FIRST_SEED + number, scene=SCENE)
    spans = showings(f"{world.seed}", (1 + max(SHOWINGS)) * EVERY)
    start = spans[random.choice(SHOWINGS)].start + random.randint(*OFFSETS)
    if number in ANYWHERE:
        start = random.randint(*STARTS)
    count, frames = start + SETTINGS.overlap, range(start, start + FRAMES)
    pictures = {
        "colour": (world.reference()[None], world.frames(frames)),
        "lines": tuple(white_on_black(shown) for shown in (world.reference_lineart()[None], world.lineart(frames))),
    }
    film = {name: torch.cat([codec.encode(part)[0] for part in parts], dim=1) for name, parts in pictures.items()}
    seen = {"past": chosen(count, MEMORY.memory_frames), "recent": range(count - MEMORY.local_frames, count)}
    for name, which in seen.items():
        film[name] = crops(looked_at(world.frames(which)), SIDE)
        film[f"{name}_turned"] = shows_behind(world, which).sum(dim=(1, 2)) >= LEAST
    look = world.look
    assert look.behind is not None
    colours = torch.stack([look.shirt, look.trousers, look.behind])
    return film | {"behind": _in_cells(world.behind(frames)), "colours": colours}


def shows_behind(world: World, indices: Sequence[int]) -> Tensor:
    """[n, 64, 64] bool: which pixels of a two-sided world's frames show nothing but clothes from behind."""
    return world.behind(indices) > 0.9


def _in_cells(shown: Tensor) -> Tensor:
    """[1 + 4 n, 64, 64] in 0..1, as the cells of latents behind an empty slot for the reference: [n + 2, 8, 8]."""
    cells = avg_pool2d(shown, SIZE // 8)
    slots = cells[1:].unflatten(0, (-1, 4)).mean(dim=1)
    return torch.cat([torch.zeros_like(cells[:1]), cells[:1], slots])
