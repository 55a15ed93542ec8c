"""Which take a start goes on with: what opens the next one, what it shares with older ones, and what it says."""

from fractions import Fraction

import pytest
from exact_parts import ExactCodec, Frames, exact_pictures
from run_parts import POSE, Place, Stop, Stopping, assert_same_result, refused, with_frame

from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.memory import build_memory
from everanimate_core.runs.videos import NumberedVideos

NETWORK = {"network": "tiny", "sigmas": [1.0, 0.5, 0.0]}
CHANGES = [
    ({"network": {**NETWORK, "network": "other"}}, "the model was tiny and is other"),
    ({"network": {**NETWORK, "network": "0" * 32}}, "the model is another one"),
    ({"network": {**NETWORK, "sigmas": [1.0, 0.0]}}, "sigmas was [1.0, 0.5, 0.0] and is [1.0, 0.0]"),
    ({"network": {**NETWORK, "sigmas": [1.0, 0.0]}, "steps": 1}, "steps was 20 and is 1"),
    ({"network": {"network": "tiny"}}, "sigmas was [1.0, 0.5, 0.0] and is not set"),
    ({"overlap": 5}, "overlap was 4 and is 5"),
    ({"chunk_frames": 13}, "chunk_frames was 9 and is 13"),
    ({"fps": Fraction(25)}, "fps was 24000/1001 and is 25"),
    ({"motion_latents": 2}, "motion_latents was 1 and is 2"),
    ({"seed_mode": "fixed"}, "seed_mode was released and is fixed"),
    ({"keyframes": "first"}, "keyframes was random and is first"),
    ({"clip_source": "reference"}, "clip_source was last_frame and is reference"),
    ({"latent_context": True}, "latent_context was False and is True"),
    ({"restore_strength": 0.5}, "restore_strength was 0.0 and is 0.5"),
    ({"seed": 1, "fps": Fraction(30)}, "seed was 0 and is 1, fps was 24000/1001 and is 30"),
    ({"sound": None}, "the sound is another one"),
]


@pytest.mark.parametrize(("changes", "message"), CHANGES)
def test_a_change_opens_the_next_take_or_stops(place, job, changes, message):
    place.start(job(14))
    before, files = place.everything(), place.files()
    assert refused(place.start, job(14, **changes), on_change="stop") == (
        "this run was made with other settings (on_change new take: finished chunks stay, and those that are still "
        f"right are used); got {message}."
    )
    assert place.made == []
    assert place.everything() == before
    place.start(job(14, **changes))
    assert place.said[0] == f"take 2 is opened: {message}"
    assert place.take().number == 2
    assert place.files(number=1) == files
    # Asked again, it is there.
    place.start(job(14, **changes), on_change="stop")
    assert (place.made, place.said) == ([], [])


def test_other_references_are_named(place, job):
    place.start(job(14))
    other = build_memory(exact_pictures(1, seed=9), ExactCodec())
    place.start(job(14, memory=other))
    assert place.said == ["take 2 is opened: the reference is another one"]
    assert refused(place.start, job(14, identity_latents=3), on_change="stop").endswith(
        "got identity_latents was 4 and is 3, the reference is another one."
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drivers": Drivers(pose=with_frame(POSE.pose, 13))}, "the pose is another one from chunk 1 on"),
        ({"prompts": ["", "turns"]}, "the prompt is another one from chunk 1 on"),
        ({"drivers": Drivers()}, "the pose is another one from chunk 0 on"),
    ],
)
def test_other_inputs_are_named_with_the_chunk_that_sees_them(place, job, changes, message):
    place.start(job(14))
    before = place.everything()
    assert refused(place.start, job(14, **changes), on_change="stop").endswith(f"got {message}.")
    assert place.made == []
    assert place.everything() == before


def test_what_differs_is_named_where_all_chunks_are_there(place, job):
    place.start(job(14))
    place.start(job(14, prompts=["", "turns"]))
    place.start(job(14))
    assert (place.made, place.take().number) == ([], 3)
    assert place.said == ["take 3 is opened: the prompt is another one from chunk 1 on"]


def test_with_nothing_finished_anything_may_change(place, job, fresh):
    with pytest.raises(Stop):
        place.start(job(), codec=Stopping("decode", 0))
    other = job(14, seed=5, fps=Fraction(30), network={"network": "other"})
    place.start(other, on_change="stop")
    assert (place.made, place.take().number) == ([0, 1], 1)
    assert_same_result(place.result(), fresh(other))


def test_ten_changes_make_ten_takes(tmp_path, job):
    place = NumberedPlace(tmp_path / "out")
    # {what is set from then on: chunks made}; what was set before stays.
    changes = [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"total": 44}, [6, 7]),
        ({"fps": Fraction(30)}, []),
        ({"prompts": [""] * 5 + ["turns"]}, [5, 6, 7]),
        ({"seed": 3}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"total": 21}, []),
        ({"continuation": "hold"}, []),
        ({"drivers": Drivers(pose=with_frame(POSE.pose, 18))}, [2, 3]),
        ({"clip_source": "reference"}, [0, 1, 2, 3]),
        ({"latent_context": True}, [0, 1, 2, 3]),
        ({"sound": None}, []),
    ]
    asked, videos = {}, []
    for change, made in changes:
        asked |= change
        place.start(job(**asked))
        assert place.made == made, change
        # What it goes on with when it is started again: nothing is left to do, after a restart of the program too.
        again = NumberedPlace(tmp_path / "out")
        again.start(job(**asked))
        assert again.made == [], change
        if change != {"continuation": "hold"}:
            videos.append(place.outcome.path.name)
    # The pose is long enough: how it would go on changes nothing, and opens no take.
    assert videos == [f"dance_{number:05}_.mp4" for number in range(1, 11)]
    assert all((tmp_path / "out" / name).is_file() for name in videos)
    assert place.store.take_numbers() == list(range(1, 11))
    # Chunks are shared wherever their keys are equal.
    keys = [chunk.key for number in range(1, 11) for chunk in place.store.read_take(number).chunks]
    made = sum(len(made) for _, made in changes)
    assert len(set(keys)) == len(list(place.store.folder.glob("chunks/*.safetensors"))) == made
    assert len(keys) == 6 + 8 + 8 + 8 + 8 + 4 + 4 + 4 + 4 + 4


class NumberedPlace(Place):
    """A place where each take has a video under its own number, as the nodes make them."""

    def videos(self):
        return NumberedVideos(self.store.folder)


def test_a_video_deleted_by_hand_is_joined_again(tmp_path, job):
    place = NumberedPlace(tmp_path / "out")
    place.start(job())
    video = place.outcome.path.read_bytes()
    place.outcome.path.unlink()
    place.start(job())
    assert (place.made, place.outcome.path.read_bytes()) == ([], video)


def test_a_file_of_anybody_is_never_replaced(tmp_path, job):
    place = NumberedPlace(tmp_path / "out")
    for name in ("dance_00001_.mp4", "DANCE_00004_.MP4"):
        (tmp_path / "out" / name).write_text("another's")
    place.start(job(14))
    assert place.outcome.path.name == "dance_00005_.mp4"
    assert (tmp_path / "out" / "dance_00001_.mp4").read_text() == "another's"


def test_a_file_that_stands_where_the_one_video_belongs_is_not_replaced(place, job):
    place.path.write_text("another's")
    assert refused(place.start, job(14)) == (
        "the finished video must not replace a file that this run did not make (choose another run name or --out, or "
        f"move the file away); got {place.path}."
    )
    assert place.path.read_text() == "another's"
    assert not place.store.folder.exists()
    place.path.unlink()
    place.start(job(14))
    # From now on it is the run's own.
    place.start(job(14, seed=1))
    assert place.take().number == 2


def test_a_run_of_another_method_is_refused(finished, job):
    take = finished.take()
    before = finished.everything()
    other = take.settings | {"method": "longanimation"}
    finished.store.write_take(type(take)(**{**vars(take), "settings": other}))
    for resume in (True, False):
        assert refused(finished.start, job(), resume=resume) == (
            "this run is one of another method (choose another run name or --out); got everanimate (was longanimation)."
        )
    assert finished.everything().keys() == before.keys()


def test_an_image_pose_at_another_rate_keeps_all_chunks(place, job):
    images = Drivers(pose=Frames(exact_pictures(60, seed=4)))
    place.start(job(14, drivers=images))
    place.start(job(14, drivers=images, fps=Fraction(12)))
    assert (place.made, place.take().number) == ([], 2)
    assert place.take().chunks == place.take(1).chunks
