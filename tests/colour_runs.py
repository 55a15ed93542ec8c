"""A colouring run with exact arithmetic: it can be killed, and goes on bit for bit."""

import torch
from exact_parts import Frames, exact_pictures
from video_model_parts import video_model

from everanimate_core.longanimation.method import long_animation
from everanimate_core.longanimation.settings import MemorySettings, Settings
from everanimate_core.longanimation.video_memory import MemoryOfVideo
from everanimate_core.method import Sampled
from everanimate_core.noise import draw_noise
from everanimate_core.runs.job import make_job
from everanimate_core.runs.settings import RunSettings

# Windows of 17 frames (5 latents) that share 9; 4 windows make 41 frames.
TOTAL, WINDOWS = 41, 4
SHORT = {"window_frames": 17, "overlap": 9, "steps": 6, "fuse_from": 3}


def colour_method(
    total=TOTAL,
    lineart=None,
    reference=None,
    reference_lineart=None,
    height=16,
    fit="stretch",
    memory=None,
    **settings,
):
    return long_animation(
        lineart or Frames(exact_pictures(50, seed=3)),
        exact_pictures(1, seed=4) if reference is None else reference,
        Settings(**(SHORT | settings)),
        32,
        height,
        fit,
        total_frames=total,
        reference_lineart=reference_lineart,
    ).with_memory(memory)


def video_memory(**settings):
    """A memory of tiny random weights."""
    return MemoryOfVideo(video_model(), MemorySettings(**settings))


def colour_job(total=TOTAL, network=None, **options):
    return make_job(colour_method(total, **options), RunSettings(), network or {"network": "tiny"}, [""])


def exact_window(request, seed, settings=None):
    """What is sampled depends on all that a window is told, element by element."""
    settings = settings or Settings(**SHORT)
    state = 0.5 * draw_noise(request.latents_shape, seed) + 0.25 * request.sketch + 0.25 * request.reference[:, :, :1]
    if request.tails is not None:
        state[:, :, 2:4] = 0.5 * state[:, :, 2:4] + 0.5 * request.tails[-1]
    if request.memory is not None:
        # As far as a sum is exact in any order: values are multiples of 2**-10, few enough.
        state = state + (request.memory * 2**10).round().sum() * 2**-20
    if not settings.fuse:
        return Sampled(state[:, :, 1:])
    ends = torch.stack([state[0, :, -2:] * (index + 1) for index in range(settings.fused_steps)])
    return Sampled(state[:, :, 1:], {"tails": ends})
