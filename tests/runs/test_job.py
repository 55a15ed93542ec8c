"""What a run is made from: what must stay the same while it goes on, and what is refused before anything is written."""

import json
import pickle
from contextlib import ExitStack
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from exact_parts import ExactCodec, Frames, exact_pictures
from run_parts import POSE_VIDEO, Counting, Place, assert_same_result, refused

from everanimate_core.errors import InputError
from everanimate_core.everanimate import method as methods
from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.method import FINGERPRINT, RESTORATION, ever_animate
from everanimate_core.everanimate.settings import RELEASED, Settings
from everanimate_core.media.frames import ResampledFrames, TensorFrames
from everanimate_core.media.reader import VideoFrames
from everanimate_core.media.sound import FileSound
from everanimate_core.plan import ChunkPlan
from everanimate_core.runs.job import make_job
from everanimate_core.runs.settings import RunSettings

DATA = Path(__file__).parents[1] / "data"
SHORT = {"chunk_frames": 9, "overlap": 4}
NETWORK = {"network": "tiny"}


def made(references=None, drivers=None, codec=None, width=32, height=16, total=0, fps=0.0, fit="stretch", **settings):
    """A job by ever_animate and make_job, of 24 frames of a pose video."""
    run = RunSettings(width=width, height=height, total_frames=total, fps=fps, fit=fit)
    method = ever_animate(
        exact_pictures(1) if references is None else references,
        codec or ExactCodec(),
        drivers or Drivers(pose=Frames(exact_pictures(24, seed=1))),
        Settings(**(SHORT | settings)),
        run.width,
        run.height,
        run.fit,
        run.total_frames,
    )
    return make_job(
        method,
        run,
        NETWORK,
        [""],
    )


# --- what a run must share with an earlier part of it ----------------------------------------------------------------


def written(run):
    """The settings that 0.1.0 wrote into a manifest."""
    return json.loads((DATA / "old_runs" / run / "manifest.json").read_bytes())["run"]["settings"]


def today(settings):
    """The same as a take has them: the rate is one of its video."""
    return {name: value for name, value in settings.items() if name != "fps"}


def facts(settings, *names):
    """Those that its host handed over."""
    return {name: settings[name] for name in names}


def test_the_settings_are_those_that_0_1_0_wrote():
    found = written("core/dance")
    job = made(fps=24000 / 1001)
    assert replace(job, network=facts(found, "network", "sigmas")).settings() == today(found)
    assert job.output_facts()["fps"] == found["fps"]


def test_the_settings_are_those_that_the_command_line_of_0_1_0_wrote():
    found, folder = written("cli/dance.run"), DATA / "old_runs" / "cli"
    with VideoFrames(folder / "reference.mov") as reference, VideoFrames(folder / "pose.mov") as pose:
        job = made(reference.read([0]), Drivers(pose=pose))
    network = facts(found, "network", "sigmas", "cfg", "negative", "dtype", "tiled")
    assert replace(job, network=network).settings() == today(found)
    assert job.output_facts()["fps"] == found["fps"]


def test_the_settings_are_those_that_the_node_of_0_1_0_wrote():
    found = written("host/dance")
    job = made(exact_pictures(1, 64, 64), width=64, height=64)
    network = facts(found, "network", "lora", "sampler", "sigmas", "cfg", "negative", "clip_vision", "tiled")
    settings = replace(job, network=network).settings()
    # Its latents came through the host's raw space; tests/host goes on with this run.
    assert settings | {"references": found["references"]} == today(found)


OTHER = {
    "chunk_frames": 13,
    "overlap": 5,
    "identity_latents": 3,
    "motion_latents": 2,
    "seed_mode": "fixed",
    "keyframes": "first",
    "clip_source": "reference",
    "latent_context": True,
    "restore_strength": 0.25,
    "restore_schedule": "exact",
    "restore_target": "low_frequency",
    "steps": 4,
    "shift": 8.0,
    "cfg": 2.0,
    "seed": 7,
    "continuation": "loop",
}


def difference(one, other):
    """The names of what differs between two dicts."""
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def test_every_setting_is_looked_at():
    names = {part.name for part in fields(Settings)}
    assert OTHER.keys() == names, "OTHER, above, needs another value than the default for each setting"
    assert names >= {*FINGERPRINT, *RESTORATION, *methods.ELSEWHERE}, "a list of everanimate/method.py names no setting"


@pytest.mark.parametrize("name", FINGERPRINT)
def test_a_setting_of_the_fingerprint_changes_the_settings(name):
    before, after = made().settings(), made(**{name: OTHER[name]}).settings()
    # More anchors are more copies of the reference.
    assert difference(before, after) - {"references"} == {name}
    assert (before[name], after[name]) == ((vars(RELEASED) | SHORT)[name], OTHER[name])
    assert ("references" in difference(before, after)) == (name == "identity_latents")


@pytest.mark.parametrize("name", RESTORATION)
def test_a_setting_of_restoration_changes_the_settings_where_it_is_on(name):
    before = made(restore_strength=0.5).settings()
    after = made(**{"restore_strength": 0.5, name: OTHER[name]}).settings()
    assert difference(before, after) == {name}
    assert after[name] == OTHER[name]
    off = made().settings()
    assert difference(off, before) == set(RESTORATION)
    assert made(**{name: OTHER[name], "restore_strength": 0.0}).settings() == off
    assert not off.keys() & set(RESTORATION)


@pytest.mark.parametrize("name", methods.ELSEWHERE)
def test_a_setting_that_shows_elsewhere_changes_nothing(name):
    assert made(**{name: OTHER[name]}).settings() == made().settings()


def test_size_references_and_network_change_the_settings():
    before = made().settings()
    for changes, names in (
        ({"width": 48}, {"width", "references"}),
        ({"height": 32}, {"height", "references"}),
        ({"references": exact_pictures(1, seed=9)}, {"references"}),
        ({"references": exact_pictures(2)}, {"references"}),
    ):
        assert difference(before, made(**changes).settings()) == names
    # Pictures of another size, fitted otherwise.
    large = exact_pictures(1, 20, 20)
    assert difference(made(large).settings(), made(large, fit="crop").settings()) == {"references"}
    assert difference(before, replace(made(), network={"network": "tiny", "lora": "a"}).settings()) == {"lora"}
    assert json.loads(json.dumps(before)) == before


def test_length_rate_and_sound_change_the_video_alone():
    before = made().output_facts()
    assert before == {"total_frames": 24, "fps": "25", "sound": None, "sound_start": 0.0}
    for changes, facts in (
        ({"total": 12}, {"total_frames": 12}),
        ({"fps": 29.97}, {"fps": "2997/100"}),
        ({"total": 12, "fps": 24000 / 1001}, {"total_frames": 12, "fps": "24000/1001"}),
    ):
        assert made(**changes).output_facts() == before | facts
        assert made(**changes).settings() == made().settings()


def test_the_sound_is_told_by_its_content(sound):
    job = made()

    def facts(**changes):
        return replace(job, output=replace(job.output, **changes)).output_facts()

    assert facts(sound=sound) == {**job.output_facts(), "sound": sound.digest()}
    assert facts(sound=sound, sound_start=1.5)["sound_start"] == 1.5
    # A file without sound is as good as none, and where nothing sounds it begins nowhere.
    with FileSound(DATA / "face.mp4") as silent:
        assert facts(sound=silent, sound_start=1.5) == job.output_facts() == facts(sound_start=1.5)
    # Tags change with a graph in which a node is moved.
    assert facts(metadata={"workflow": "{}"}) == job.output_facts()
    assert json.loads(json.dumps(facts(sound=sound))) == facts(sound=sound)


def test_what_the_user_set_tells_takes_apart():
    job = made(seed=5, total=12, fps=29.97)
    told = job.set_by_user()
    assert told == {
        **vars(Settings(**SHORT, seed=5)),
        **{"width": 32, "height": 16, "total_frames": 12, "fps": 29.97, "fit": "stretch", "tiled": False},
    }
    assert json.loads(json.dumps(told)) == told


def test_a_later_setting_is_left_out_while_it_has_its_default(place, job, monkeypatch):
    place.start(job(14))
    before = job().settings()
    # As if a version to come had a setting of this name.
    monkeypatch.setattr(methods, "ELSEWHERE", ("steps", "shift", "cfg", "seed"))
    assert job().settings() == before
    assert job(continuation="loop").settings() == {**before, "continuation": "loop"}
    # The run that was begun without it goes on; another value makes another take.
    place.start(job())
    assert place.kept == [0, 1]
    assert place.take().settings == before
    place.start(job(14, continuation="loop"))
    assert (place.made, place.kept, place.take().number) == ([0, 1], [], 3)
    assert place.said == ["take 3 is opened: continuation was pingpong and is loop, total_frames was 32 and is 14"]


# --- what ever_animate and make_job make -----------------------------------------------------------------------------


def test_a_job_has_the_size_length_and_rate_that_were_asked_for():
    pose = TensorFrames(exact_pictures(50, 40, 40, seed=1), Fraction(30000, 1001))
    face = TensorFrames(exact_pictures(50, 30, 30, seed=2))
    job = made(exact_pictures(1, 40, 40), Drivers(pose, face))
    memory = job.method.memory
    assert (job.method.width, job.method.height, memory.anchors, memory.motion_count) == (32, 16, 4, 1)
    assert job.plan == ChunkPlan(50, 9, 4)
    assert job.method.drivers.pose.read([0, 1]).shape == (2, 16, 32, 3)
    assert job.method.drivers.face.read([0, 1]).shape == (2, 512, 512, 3)
    assert (job.output.fps, job.output.sound, job.output.sound_start, job.output.metadata) == (
        Fraction(30000, 1001),
        None,
        0,
        {},
    )
    job = made(drivers=Drivers(pose), total=12, fps=29.97, continuation="loop", identity_latents=2, motion_latents=2)
    assert job.plan == ChunkPlan(12, 9, 4, "loop")
    assert job.output.fps == Fraction(2997, 100)
    assert (job.method.memory.anchors, job.method.memory.motion_count) == (2, 2)
    # Pictures without a rate, and no pose at all.
    assert made().output.fps == made(drivers=Drivers(), total=12).output.fps == 25
    assert made(drivers=Drivers(), total=12).plan == ChunkPlan(12, 9, 4)


def test_transparency_of_references_is_left_out():
    alpha = torch.cat([exact_pictures(1), torch.zeros(1, 16, 32, 1)], dim=-1)
    assert made(alpha.half()).settings() == made(alpha[..., :3].half().float()).settings()
    assert made(alpha).settings() == made().settings()


SMALL = Frames(exact_pictures(24, 20, 20))
BAD = {
    "no frame": ({"drivers": Drivers(pose=Frames(exact_pictures(0))), "total": 9}, "pose_video must have at least 1"),
    "no length": ({"drivers": Drivers()}, "total_frames must be at least 1 (250); got 0."),
    "no pose to compare": (
        {"drivers": Drivers(), "total": 9, "keyframes": "pose"},
        "pose_video must be given when keyframes is 'pose'; got none.",
    ),
    "a scene alone": (
        {"drivers": Drivers(SMALL, background=SMALL)},
        "background_video and character_mask come together; got background_video alone.",
    ),
    "a mask alone": (
        {"drivers": Drivers(SMALL, mask=SMALL)},
        "background_video and character_mask come together; got character_mask alone.",
    ),
    "too short": ({"total": 30, "continuation": "error"}, "pose_video must have at least 30 frames when continuation"),
    "a face too short": (
        {"drivers": Drivers(Frames(exact_pictures(40)), SMALL), "continuation": "error"},
        "face_video must have at least 40 frames when continuation",
    ),
    "chunk": ({"chunk_frames": 10}, "chunk_frames must be 4n + 1, such as 9 or 13; got 10."),
    "overlap": ({"overlap": 8}, "overlap must lie between 0 and chunk_frames - 2 (0..7); got 8."),
    "motion": ({"motion_latents": 3}, "motion_latents must be between 1 and 2 for chunks of 9 frames (1); got 3."),
    "many references": (
        {"references": exact_pictures(5)},
        "reference_images must hold between 1 and identity_latents (4) images; got 5.",
    ),
    "no reference": (
        {"references": exact_pictures(0)},
        "reference_images must hold between 1 and identity_latents (4) images; got 0.",
    ),
    "size of the reference": (
        {"references": exact_pictures(1, 20, 20), "fit": "error"},
        "the frames must be 32x16 (or fit stretch, crop or pad); got 20x20.",
    ),
    "size of the pose": (
        {"drivers": Drivers(SMALL), "fit": "error"},
        "the frames must be 32x16 (or fit stretch, crop or pad); got 20x20.",
    ),
    "rate": ({"fps": 0.0001}, "fps must be above 0 and at most 1000 (25, 29.97, 30000/1001); got 0.0001."),
    "a rate out of range": ({"fps": 1e9}, "fps must be between 0.0 and 240.0 (0.0); got 1000000000.0."),
    "size": ({"width": 24}, "width must be a multiple of 16 (832); got 24."),
    "steps": ({"steps": 0}, "steps must be between 1 and 1000 (20); got 0."),
    "not a number": ({"cfg": float("nan")}, "cfg must be a number, not NaN or infinity (1.0); got nan."),
    "a choice": ({"clip_source": "x"}, "clip_source must be one of last_frame, reference (last_frame); got x."),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_inputs_are_refused_before_anything_is_written(place, name):
    changes, message = BAD[name]

    def sample(request, seed):
        raise AssertionError("sampled")

    def start():
        place.start(made(**changes), sample)

    assert refused(start, kind=InputError).startswith(message)
    assert place.everything() == {}
    assert not place.store.folder.exists()


@pytest.mark.parametrize(
    "name", ["no length", "too short", "chunk", "motion", "many references", "size of the reference"]
)
def test_bad_inputs_are_refused_before_anything_is_encoded(name):
    counting = Counting()
    refused(made, codec=counting, kind=InputError, **BAD[name][0])
    assert counting.work == []


# --- a job in another process ----------------------------------------------------------------------------------------


def test_a_job_of_files_goes_on_after_it_was_pickled(tmp_path):
    first, second = Place(tmp_path / "first"), Place(tmp_path / "second")
    with ExitStack() as files:
        opened = files.enter_context
        drivers = Drivers(
            pose=opened(VideoFrames(POSE_VIDEO, Fraction(12))),
            face=opened(VideoFrames(DATA / "face.mp4")),
            background=ResampledFrames(opened(VideoFrames(POSE_VIDEO, start=1.0)), Fraction(24)),
            mask=TensorFrames(exact_pictures(30, seed=3)),
        )
        job = make_job(
            ever_animate(exact_pictures(1, 40, 40), ExactCodec(), drivers, Settings(**SHORT), 32, 16, total_frames=14),
            RunSettings(),
            NETWORK,
            ["a prompt"],
            opened(FileSound(POSE_VIDEO)),
            sound_start=0.5,
            metadata={"title": "dance"},
            earlier={"everanimate-run-1": ({"network": "as it was"}, ["as it was"])},
        )
        text = pickle.dumps(job)
        first.start(job)
    # Its files are closed, and nothing of it is in use.
    again = pickle.loads(text)
    assert again.settings() == job.settings()
    assert again.output_facts() == job.output_facts()
    for name in ("plan", "network", "prompts", "earlier"):
        assert getattr(again, name) == getattr(job, name)
    assert again.method.settings == job.method.settings
    assert (again.output.fps, again.output.sound_start, again.output.metadata) == (12, 0.5, {"title": "dance"})
    second.start(again)
    assert second.made == [0, 1]
    keys = [[record.key for record in place.take().chunks] for place in (first, second)]
    assert keys[0] == keys[1]
    assert_same_result(second.result(), first.result())
    # Each goes on with what the other made.
    first.start(again)
    assert (first.made, first.kept) == ([], [0, 1])
    drivers = again.method.drivers
    for source in (drivers.pose.source, drivers.face.source, drivers.background.source.source):
        source.close()
    again.output.sound.close()
