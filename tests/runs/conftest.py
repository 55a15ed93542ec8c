"""Fixtures of runs: a small job with sound, a place for it, and places where it was finished."""

import shutil
import signal
from functools import partial

import pytest
from run_parts import POSE_VIDEO, Place, small_job

from everanimate_core.digests import digest
from everanimate_core.media.sound import FileSound


@pytest.fixture
def sound():
    with FileSound(POSE_VIDEO) as found:
        yield found


@pytest.fixture
def job(sound):
    """job(total, **changes): six chunks of a driving video with sound."""
    return partial(small_job, sound=sound)


@pytest.fixture
def ctrl_c_raises():
    """Ctrl-C raises KeyboardInterrupt, also where the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "out")


@pytest.fixture(scope="session")
def places():
    return {}


@pytest.fixture
def once(place, places, tmp_path_factory):
    """once(job, (job, options)...) -> a place with these starts, never interrupted; made once, only to be looked at."""

    def made(*starts):
        starts = [start if isinstance(start, tuple) else (start, {}) for start in starts]
        name = digest(*(part for job, options in starts for part in (*_everything_in(job), options)))
        if name not in places:
            places[name] = Place(tmp_path_factory.mktemp("once") / "out", codec=place.codec)
            for job, options in starts:
                places[name].start(job, **options)
        return places[name]

    return made


def _everything_in(job):
    return job.settings(), job.plan.total_frames, list(job.prompts), job.method.seed, job.method.drivers.pose.frames


@pytest.fixture
def fresh(once):
    """fresh(job, (job, options)...) -> the result of these starts in a new place."""
    return lambda *starts: once(*starts).result()


@pytest.fixture
def finished(place, once, job):
    """A place where job() is finished."""
    shutil.copytree(once(job()).root, place.root, dirs_exist_ok=True)
    return place
