"""From a video of a person to driving videos: first everybody in it is found, then all videos are written in step.

The first pass keeps what it finds on disk, so that it goes on where it stopped. Choice of the person, smoothing and
retargeting then see the whole clip. The second pass reads the video again and writes one frame of each driving video
for each frame that they show. Neither holds more than one window of frames in memory.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..digests import digest
from ..errors import InputError
from ..files import clear_parts, write_whole
from ..media.open import Source
from ..media.sound import Sound
from ..media.writer import VideoWriter, check_writing
from ..ports import FrameSource
from ..tensor_files import write_tensors
from .clip import Clip, Progress, all_found, search
from .cuts import found_cuts, shots
from .draw import draw_pose
from .engines.engine import START, Engine, GivenEngine
from .face import FACE_SIZE, Faces, face_picture, find_faces
from .found_store import OWN, Findings, FoundStore, eight_bit, unpacked
from .keypoints import BODY, DRAWN, LEFT_HAND, RIGHT_HAND, Keypoints
from .mask import around, grown, in_blocks, without_person
from .people import Person, Track, at_point, body, body_box, chosen, followed, keypoints
from .pose import pose_of
from .pose_keypoint import as_pose_keypoint, read_pose_keypoint
from .retarget import letterboxed, retargeted
from .segmenting import Segmenter
from .settings import Settings
from .smooth import RATE, steadied

# Lines are 2 to 5 pixels wide, and H.264 keeps a quarter of the colours: a low crf keeps them apart.
LOSSY: Mapping[str, Any] = {"codec": "libx264", "crf": 10, "pix_fmt": "yuv420p"}
LOSSLESS: Mapping[str, Any] = {"codec": "libx264rgb", "crf": 0, "pix_fmt": "rgb24"}
FOUND, REPORT = "found", "report.json"
# In this share of the frames the person has to be there; below the second, the report warns.
LEAST, FEW = 0.2, 0.5


@dataclass(frozen=True)
class Prepared:
    """The files that were written, and the report.

    background, mask: None in animation mode. keypoints: points [N, 133, 2] in pixels of the driver, scores [N, 133],
    filled [N, 133], person_boxes and face_boxes [N, 4] (left, top, right, bottom; all 0 where there is none), and
    face_visible [N], for each of the N frames of the videos. openpose: the same points as POSE_KEYPOINT.
    """

    pose: Path
    face: Path
    background: Path | None
    mask: Path | None
    keypoints: Path
    openpose: Path
    report: dict[str, Any]


@dataclass(frozen=True)
class _Driver:
    """The person who drives, in each of N frames of the driving videos.

    masks: [N], the place in the clip whose mask each takes, -1 for none. places: of the person in what was found in
    each frame of the clip, -1 where they are hidden. cuts: numbers of frames of the driving videos. people: how many
    there are in the clip.
    """

    keypoints: Keypoints
    filled: np.ndarray
    faces: Faces
    masks: np.ndarray
    places: np.ndarray
    cuts: list[int]
    people: int


def prepare(
    video: FrameSource,
    engine: Engine | None,
    settings: Settings,
    folder: Path,
    reference: Tensor | None = None,
    pose_keypoint: Sequence[dict[str, Any]] | None = None,
    sound: Source | Sound | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress = lambda done, total: None,
    segmenter: Segmenter | None = None,
    sound_start: float = 0.0,
) -> Prepared:
    """Write pose.mp4 and face.mp4, in replacement mode background.mp4 and mask.mp4, and the keypoints into `folder`.

    reference: the picture of whoever will be animated, [1, H, W, 3] in 0..1, however large; the animation shows it
    stretched to its own size. pose_keypoint: POSE_KEYPOINT of every frame of the video; then the engine looks at the
    reference only. sound: of the driver, for pose.mp4; sound_start: the second of its picture with which the video
    begins. segmenter: finds the masks of replacement mode in the place of the engine. say: is given each warning of the
    report. progress: is given the frames that are done in both passes, and how many there are.

    What is found is kept in the folder "found": an interrupted call goes on with it. The videos get their names when
    all of them are whole. An older report.json goes before that, and the new one comes last: with it, all files are of
    one call. The folder belongs to one call at a time.

    Raises InputError before any video is begun: for a video that shows the person in less than a fifth of its frames, a
    reference without a person, keypoints of another length, an engine without masks in replacement mode, a person or
    point that nobody is at, and what was found in another video or by another engine.
    """
    clip = Clip.shown_at(video, settings.fps)
    replacing = settings.replacing
    # An odd last row or column is left out: H.264 halves the sides.
    size = (clip.width // 2 * 2, clip.height // 2 * 2) if replacing else (settings.width, settings.height)
    coding = LOSSLESS if settings.lossless else LOSSY
    check_writing(clip.fps, *size, coding["codec"], coding["pix_fmt"])
    _check_point(clip, settings)
    still, others = None, 0
    if reference is not None and settings.retargeting:
        still, others = _reference_person(reference, engine, *size)
    finder = _finder(clip, engine, pose_keypoint)

    (folder / FOUND).mkdir(parents=True, exist_ok=True)
    for place in (folder, folder / FOUND):
        clear_parts(place)
    segmenter = segmenter if replacing else None
    masks = segmenter.digest if segmenter is not None else OWN if replacing else ""
    store = FoundStore(folder / FOUND, finder.name, finder.digest, masks)
    search(clip, finder, segmenter, store, progress)
    driver = _driver(clip, store, settings)
    report = _report(clip, finder, settings, driver)

    if still is not None:
        moved = retargeted(driver.keypoints, still, settings.retarget, settings.template_frame)
        pose = moved.pose
        report["retarget"] = {name: value for name, value in vars(moved).items() if name != "pose"}
        if others:
            report["warnings"].append(f"The reference shows {others + 1} people; the largest is taken.")
    elif replacing:
        pose = replace(pose_of(driver.keypoints), width=size[0], height=size[1])
    else:
        pose = letterboxed(pose_of(driver.keypoints), *size)
    for line in report["warnings"]:
        say(line)

    # A gap that is filled in may begin in the window before or end in the next one.
    found_in = lru_cache(maxsize=2)(store.read)
    names = ["pose", "face", "background", "mask"] if replacing else ["pose", "face"]
    with _writers(folder, names, clip, size, coding, sound, sound_start) as write:
        for _, window, frames in clip.windows():
            for frame in np.flatnonzero((clip.order >= window.start) & (clip.order < window.stop)).tolist():
                place = int(clip.order[frame]) - window.start
                picture = eight_bit(frames[place]).numpy()
                pictures = {"pose": draw_pose(pose, frame), "face": face_picture(picture, driver.faces.boxes[frame])}
                if replacing:
                    mask = _mask(found_in, clip, driver, frame, settings)[: size[1], : size[0]]
                    pictures["background"] = without_person(picture[: size[1], : size[0]], mask)
                    pictures["mask"] = np.repeat(mask[..., None] * np.uint8(255), 3, axis=-1)
                write(pictures)
            del frames  # or there would be two windows while the next one is read
            progress(len(clip.numbers) + window.stop, 2 * len(clip.numbers))
        # While the videos get their names, some are of an earlier call: until the new report is there, there is none.
        (folder / REPORT).unlink(missing_ok=True)
    return _with_data(folder, names, driver, finder, clip, report)


def _reference_person(picture: Tensor, engine: Engine | None, width: int, height: int) -> tuple[Keypoints, int]:
    """The largest person of a picture [1, H, W, 3], in pixels of the animation, and how many others there are."""
    if engine is None:
        rule = "can only be used with an engine that finds the person in it"
        raise InputError("the reference", rule, "or set retarget to off", "keypoints of the driver alone")
    engine.state = START
    frame = picture[0, ..., :3].float().cpu().numpy()
    found = [one for one in engine.find_all(frame[None])[0] if (one.scores[BODY] >= DRAWN).any()]
    if not found:
        way = "take a full-body picture, or set retarget to off"
        raise InputError("the reference", "must show a person", way, f"nobody whom the engine {engine.name} finds")
    largest = max(found, key=lambda one: _box_area(Person(one.points, one.scores)))
    scale = np.divide((width, height), frame.shape[1::-1])
    return Keypoints(largest.points[None] * scale, largest.scores[None], width, height), len(found) - 1


def _box_area(person: Person) -> float:
    left, top, right, bottom = body_box(body(person))
    return float((right - left) * (bottom - top))


def _finder(clip: Clip, engine: Engine | None, pose_keypoint: Sequence[dict[str, Any]] | None) -> Engine:
    """What finds people in the driver: the keypoints where they are given, else the engine."""
    if pose_keypoint is None:
        if engine is None:
            raise InputError("the driving video", "must come with an engine or with keypoints", "", "neither")
        return engine
    count = clip.video.frame_count
    if len(pose_keypoint) != count:
        raise InputError("keypoints", f"must be of all {count} frames of the driving video", "", len(pose_keypoint))
    people = read_pose_keypoint(pose_keypoint, clip.width, clip.height)
    values = [np.concatenate([one.points, one.scores[:, None]], axis=1) for there in people for one in there]
    stands = digest([len(there) for there in people], *(torch.from_numpy(value) for value in values))
    return GivenEngine([people[number] for number in clip.numbers], stands)


def _driver(clip: Clip, store: FoundStore, settings: Settings) -> _Driver:
    """Who drives, over the whole clip. Raises InputError where they are there in too few frames."""
    everybody, histograms = all_found(clip, store)
    cuts = found_cuts(everybody, histograms)
    tracks = followed(everybody, cuts)
    track = Track(np.full(len(everybody), -1), np.zeros(len(everybody), dtype=bool))
    if tracks:
        track = _chosen(tracks, everybody, clip, settings)
    share = float((track.places >= 0).mean())
    if share < LEAST:
        best = max((person.scores[BODY].mean() for there in everybody for person in there), default=0.0)
        rule = f"must show the person in at least {LEAST:.0%} of its frames"
        way = "a body that is seen well, another engine, or a part of the video"
        got = f"{share:.0%} of {len(everybody)} frames by the engine {store.engine}, best score {best:.2f}"
        raise InputError("the driving video", rule, way, got)
    found = keypoints(track, everybody, clip.width, clip.height)
    steady, filled = steadied(found, clip.rate, cuts, settings.max_gap, settings.smoothing)
    faces = find_faces(steady, clip.rate, cuts, settings.max_gap)
    order = clip.order
    return _Driver(
        replace(steady, points=steady.points[order], scores=steady.scores[order]),
        filled[order],
        Faces(faces.boxes[order], faces.visible[order]),
        mask_places(track.places >= 0, cuts, round(settings.max_gap * float(clip.rate) / RATE))[order],
        track.places,
        [int(np.searchsorted(order, cut)) for cut in cuts],
        len(tracks),
    )


def _check_point(clip: Clip, settings: Settings) -> None:
    """Raise InputError where person_at lies outside of the video."""
    if settings.point is None:
        return
    limits = len(clip.order), clip.width, clip.height
    if any(value >= limit for value, limit in zip(settings.point, limits, strict=True)):
        rule = f"must lie in the video, which has {limits[0]} frames of {clip.width}x{clip.height}"
        raise InputError("person_at", rule, "all counted from 0", settings.person_at)


def _chosen(tracks: Sequence[Track], everybody: Sequence[Sequence[Person]], clip: Clip, settings: Settings) -> Track:
    """The track of the person that the settings say, out of one or more."""
    if settings.point is None:
        return chosen(tracks, everybody, clip.width, clip.height, settings.person, settings.person_index)
    frame, x, y = settings.point
    track = at_point(tracks, everybody, int(clip.order[frame]), x, y)
    if track is None:
        seen = np.any([track.places >= 0 for track in tracks], axis=0)[clip.order]
        nearest = min(np.flatnonzero(seen), key=lambda number: abs(number - frame))
        rule = "must name a frame in which somebody is found"
        raise InputError("person_at", rule, f"frame {nearest} is the nearest one", settings.person_at)
    return track


def mask_places(seen: np.ndarray, cuts: Sequence[int], gap: int) -> np.ndarray:
    """For each of n frames, the one whose mask it takes, [n]: itself where the person is seen ([n]), else -1.

    Over gaps of up to `gap` frames, in which the pose is drawn too, it is the nearer of the frames next to the gap.
    cuts: numbers of the frames with which a new shot begins; nothing goes on across them.
    """
    places = np.where(seen, np.arange(len(seen)), -1)
    for shot in shots(cuts, len(seen)):
        for before, after in pairwise(np.flatnonzero(seen[shot]) + shot.start):
            if after - before <= gap + 1:
                middle = (before + after + 1) // 2
                places[before:middle], places[middle:after] = before, after
    return places


def _mask(
    found_in: Callable[[int], Findings], clip: Clip, driver: _Driver, frame: int, settings: Settings
) -> np.ndarray:
    """Where the new person goes, [H, W], bool, in a frame of the driving videos. found_in: what a window holds."""
    place = int(driver.masks[frame])
    if place < 0:
        return np.zeros((clip.height, clip.width), dtype=bool)
    window, number = divmod(place, clip.window_size)
    found, person = found_in(window), driver.places[place]
    mask = unpacked(found.masks[number][person], clip.width, clip.height)
    if not mask.any():
        # The points are there, the outline was lost.
        points, scores, _ = found.people[number][person]
        mask = around(points[scores >= DRAWN], clip.width, clip.height)
    return in_blocks(grown(mask, settings.mask_grow), settings.mask_blocks)


def _report(clip: Clip, finder: Engine, settings: Settings, driver: _Driver) -> dict[str, Any]:
    drawn = driver.keypoints.scores >= DRAWN
    seen = {
        "body": drawn[:, BODY].any(axis=1),
        "left hand": drawn[:, LEFT_HAND].any(axis=1),
        "right hand": drawn[:, RIGHT_HAND].any(axis=1),
        "face": driver.faces.visible,
    }
    shares = {part: float(there.mean()) for part, there in seen.items()}
    few = [f"The {part} is seen in {share:.0%} of the frames only." for part, share in shares.items() if share < FEW]
    return {
        "frames": len(clip.order),
        "fps": str(clip.fps),
        "driver": {"width": clip.width, "height": clip.height},
        "engine": finder.name,
        "engine_digest": finder.digest,
        # A rate may be a fraction, which JSON does not know.
        "settings": {**vars(settings), "fps": float(settings.fps)},
        "people": driver.people,
        "cuts": driver.cuts,
        "shares": shares,
        "warnings": few,
    }


@contextmanager
def _writers(
    folder: Path,
    names: Sequence[str],
    clip: Clip,
    size: tuple[int, int],
    coding: Mapping[str, Any],
    sound: Source | Sound | None,
    sound_start: float,
) -> Iterator[Callable[[Mapping[str, np.ndarray]], None]]:
    """A function that writes one frame [H, W, 3], uint8, of each video; they get their names when the block ends."""
    with ExitStack() as opened:
        writers = {}
        for name in names:
            width, height = (FACE_SIZE, FACE_SIZE) if name == "face" else size
            heard = sound if name == "pose" else None
            writer = VideoWriter(
                folder / f"{name}.mp4", clip.fps, width, height, **coding, audio_from=heard, audio_start=sound_start
            )
            writers[name] = opened.enter_context(writer)

        def write(pictures: Mapping[str, np.ndarray]) -> None:
            for name, writer in writers.items():
                writer.write(torch.from_numpy(pictures[name])[None])

        yield write


def _with_data(
    folder: Path, names: Sequence[str], driver: _Driver, finder: Engine, clip: Clip, report: dict[str, Any]
) -> Prepared:
    """Write what stands beside the videos `names`; all that is written."""
    found = driver.keypoints
    files = {name: folder / f"{name}.mp4" for name in ("pose", "face", "background", "mask")}
    for name in files.keys() - set(names):
        # Of an earlier call in the other mode: it is not in step with these.
        files[name].unlink(missing_ok=True)
    tensors = {
        "points": found.points,
        "scores": found.scores,
        "filled": driver.filled,
        "person_boxes": _person_boxes(found),
        "face_boxes": driver.faces.boxes,
        "face_visible": driver.faces.visible,
    }
    told = {"width": clip.width, "height": clip.height, "fps": str(clip.fps), "engine": finder.name}
    data = folder / "keypoints.safetensors"
    metadata = {"keypoints": json.dumps({**told, "engine_digest": finder.digest})}
    write_tensors(data, {name: torch.from_numpy(value) for name, value in tensors.items()}, metadata)
    _write_pose_keypoint(folder / "openpose.json", found)
    with write_whole(folder / REPORT) as part:
        part.write_text(json.dumps(report), encoding="utf-8")
    background, mask = (files[name] if name in names else None for name in ("background", "mask"))
    return Prepared(files["pose"], files["face"], background, mask, data, folder / "openpose.json", report)


def _person_boxes(found: Keypoints) -> np.ndarray:
    """Left, top, right and bottom of the body in each frame, [N, 4], pixels; all 0 where nobody is."""
    boxes = np.zeros((len(found.points), 4))
    for frame, (points, scores) in enumerate(zip(found.points, found.scores, strict=True)):
        if (scores[BODY] >= DRAWN).any():
            boxes[frame] = body_box(body(Person(points, scores)))
    return boxes


def _write_pose_keypoint(path: Path, found: Keypoints) -> None:
    """POSE_KEYPOINT as JSON, frame by frame: all at once, its numbers would take up the memory of a window."""
    with write_whole(path) as part, part.open("w", encoding="utf-8") as file:
        for number in range(len(found.points)):
            one = slice(number, number + 1)
            (frame,) = as_pose_keypoint(replace(found, points=found.points[one], scores=found.scores[one]))
            file.write(f"{', ' if number else '['}{json.dumps(frame)}")
        file.write("]")
