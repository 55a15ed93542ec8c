"""One chunk made again alone, on the toy: nothing else changes, and it joins its neighbours as the others do theirs."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from everanimate_core.digests import digest
from everanimate_core.evaluation.drift import seam_index
from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.flow import sigma_schedule
from everanimate_core.everanimate.method import ever_animate
from everanimate_core.media.reader import VideoFrames
from everanimate_core.runs.job import make_job
from everanimate_core.runs.run import run
from everanimate_core.runs.settings import RunSettings
from everanimate_core.runs.store import RunStore
from everanimate_core.runs.videos import NumberedVideos
from everanimate_core.studies.rows import ROWS
from everanimate_core.toy.network.engine import WorldFrames
from everanimate_core.toy.world.raster import SIZE
from everanimate_core.toy.world.world import World

CHUNKS, AGAIN = 6, 2
ROW = ROWS["full"]


@pytest.fixture(scope="module")
def takes(tmp_path_factory):
    """The run's store, the videos of its two takes, its plan: the second take has chunk AGAIN made again."""
    folder, world, model = tmp_path_factory.mktemp("toy") / "dance", World(11), ROW.load(None)
    plan = ROW.settings.plan(1)
    frames = plan.chunk_frames + (CHUNKS - 1) * plan.stride
    store, sample = (
        RunStore(folder),
        partial(model.sample_chunk, sigmas=sigma_schedule(ROW.settings.steps, ROW.settings.shift)),
    )
    videos = []
    for settings, asked in (
        (ROW.settings, RunSettings()),
        (replace(ROW.settings, seed=5), RunSettings(only_chunk=AGAIN)),
    ):
        drivers = Drivers(pose=WorldFrames(world.pose, frames))
        method = ever_animate(world.reference()[None], model.codec, drivers, settings, SIZE, SIZE)
        job = make_job(method, asked, network={"network": "toy"}, prompts=[digest("")])
        videos.append(run(job, store, sample, model.codec, NumberedVideos(folder), asked).path)
    return store, videos, job.plan


def frames_of(path):
    with VideoFrames(path) as video:
        return video.read(range(video.frame_count))


def test_all_other_frames_stay(takes):
    store, videos, plan = takes
    one, other = map(frames_of, videos)
    span = plan.output_range(AGAIN)
    assert torch.equal(one[: span.start], other[: span.start])
    assert torch.equal(one[span.stop :], other[span.stop :])
    assert not torch.equal(one[span.start : span.stop], other[span.start : span.stop])
    keys = [[chunk.key for chunk in store.read_take(number).chunks] for number in (1, 2)]
    assert [index for index in range(CHUNKS) if keys[0][index] != keys[1][index]] == [AGAIN]


def test_it_joins_its_neighbours_as_others_do(takes):
    _, videos, plan = takes
    frames = frames_of(videos[1])
    steps = torch.cat([torch.zeros(1), (frames[1:] - frames[:-1]).abs().mean(dim=(1, 2, 3))])
    seams = [seam_index(steps, join) for join in plan.joins]
    # Chunk k begins at join k - 1, and the next one at join k.
    own, others = seams[AGAIN - 1 : AGAIN + 1], seams[: AGAIN - 1] + seams[AGAIN + 1 :]
    assert max(own) <= 1.2 * sum(others) / len(others)
