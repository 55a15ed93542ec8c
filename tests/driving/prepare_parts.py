"""What the tests of prepare share: small settings, and what was written."""

import numpy as np
from refusals import refusal
from run_parts import video_of

from everanimate_core.driving import prepare
from everanimate_core.driving.settings import Settings
from everanimate_core.errors import InputError
from everanimate_core.media.reader import VideoFrames

SMALL = {"width": 64, "height": 48}
REPLACING = Settings(mode="replacement", **SMALL)
ANIMATING = Settings(**SMALL)
VIDEOS = ("pose", "face", "background", "mask")


def films(folder):
    return {name: video_of(folder / f"{name}.mp4") for name in VIDEOS if (folder / f"{name}.mp4").exists()}


def files(folder):
    """{name: content} of what was made."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def refused(*args, **options):
    return refusal(prepare.prepare, *args, kind=InputError, **options)


def told(path, *places):
    """The red of each frame at some places, 0..255: [frames, places]."""
    with VideoFrames(path) as video:
        return np.array(
            [[video.read([number])[0][place][0] * 255 for place in places] for number in range(video.frame_count)]
        )
