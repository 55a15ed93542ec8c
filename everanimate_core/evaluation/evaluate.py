"""One pass over a long video: every metric, frame by frame, in blocks that fit in memory."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ..errors import InputError
from ..ports import FrameSource
from .alignment import MAX_SHIFT, Shift, describe, find_repeats, find_shifts, signatures
from .doubling import find_doubled
from .drift import seam_index, slope
from .frame_metrics import (
    Box,
    colour_cast,
    colour_curves,
    laplacian,
    psnr,
    region_psnr,
    sharpness,
    sharpness_ratio,
    ssim,
    steps,
    to_lab,
)
from .frechet import FrechetDistance
from .identity import PersonColours, identity_distance, person_colours
from .networks import Networks
from .report import AGAINST_TRUTH, PSNRS, Curves, Report, Seam, equal_frames, find, mean

BLOCK = 8  # frames in memory at a time
RATE_TOLERANCE = 1e-4  # 30000/1001 is also written 2997/100; 30 is another rate
MIN_SIZE = 32  # pixels: five layers of AlexNet, and the window of SSIM
Progress = Callable[[int, int], None]


def evaluate(
    video: FrameSource,
    truth: FrameSource | None = None,
    reference: Tensor | None = None,
    joins: Sequence[int] = (),
    face_boxes: Sequence[Box | None] | None = None,
    person_boxes: Sequence[Box | None] | None = None,
    reference_box: Box | None = None,
    networks: Networks | None = None,
    on_frames: Progress | None = None,
) -> Report:
    """Evaluate a video, streamed in blocks of 8 frames.

    truth: the video as it should be, of the same size, length and frame rate (where both have one); without it the
    colour cast and the sharpness are compared with the first frame (for a camera that stands still) and full-reference
    metrics are absent. reference: [H, W, 3] in 0..1, who is animated. joins: ChunkPlan.joins. face_boxes: a box a frame
    for face_psnr, None where there is no face. person_boxes, reference_box: where the identity measure looks in every
    frame and in the reference; None: at the whole picture. networks: for metrics with weights. on_frames(done, total)
    is called after each block, and may raise to cancel. Raises ValueError for videos that cannot be compared.
    """
    _check(video, truth, joins)
    _check_boxes(video, face_boxes, person_boxes)
    if reference is not None and reference_box is not None:
        _check_box("reference_box", reference_box, reference.shape[1], reference.shape[0])
    if truth is not None and truth.frame_count != video.frame_count:
        raise _other_length(video, truth, on_frames)
    count = video.frame_count
    networks = networks or Networks()
    person = None if reference is None else person_colours(reference, reference_box)
    places: Sequence[Box | None] = [None] * count if person_boxes is None else person_boxes
    mine, true = _Curves(person, places), _Curves(person, places)
    between: Curves = defaultdict(list)
    distances = _Distances(networks)
    signs: tuple[list[Tensor], list[Tensor]] = [], []
    first: tuple[Tensor, Tensor] | None = None
    for rows in _blocks(count, networks):
        pictures = video.read(rows)
        signs[0].append(signatures(pictures))
        lab, edges = mine.add(rows, pictures)
        first = first or (lab[:1], edges[:1])
        expected_lab, expected_edges = first
        if truth is not None:
            true_pictures = truth.read(rows)
            expected_lab, expected_edges = true.add(rows, true_pictures)
            faces = None if face_boxes is None else [face_boxes[row] for row in rows]
            persons = None if person_boxes is None else [person_boxes[row] for row in rows]
            for name, values in _against(pictures, true_pictures, faces, persons, networks).items():
                between[name] += values.tolist()
            distances.add(pictures, true_pictures)
            signs[1].append(signatures(true_pictures))
        between["colour_cast"] += colour_cast(lab, expected_lab).tolist()
        between["sharpness_ratio"] += sharpness_ratio(edges, expected_edges).tolist()
        if on_frames is not None:
            on_frames(rows.stop, count)
    curves = {**mine.curves, **between}
    seams = [_seam(join, mine.curves, true.curves) for join in joins]
    numbers = {name: mean(curves[name]) for name in AGAINST_TRUTH if name in curves}
    if truth is not None:
        numbers |= distances.values()
    shifts, repeats = _steps_of(*signs) if truth is not None else ([], [])
    doubled = find_doubled(torch.cat(signs[0]), joins) if truth is None else []
    if seams:
        numbers["seam_index"] = mean([seam.relative for seam in seams])
    return Report(
        frames=count,
        width=video.width,
        height=video.height,
        fps=None if video.fps is None else float(video.fps),
        compared_with="first frame" if truth is None else "truth",
        joins=list(joins),
        curves=curves,
        truth=dict(true.curves),
        slopes={name: slope(values) for name, values in curves.items()},
        numbers=numbers,
        equal={name: equal_frames(curves[name]) for name in PSNRS if name in curves},
        seams=seams,
        findings=find(curves, true.curves, seams, shifts, repeats, doubled),
        missing={} if truth is None else networks.missing,
        sha256=networks.sha256,
    )


class _Curves:
    """The curves of one video by itself."""

    def __init__(self, person: PersonColours | None, boxes: Sequence[Box | None]):
        self.curves: Curves = defaultdict(list)
        self._person, self._boxes = person, boxes
        self._last: Tensor | None = None

    def add(self, rows: range, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Measure the frames [n, H, W, 3] of these numbers, which follow those before; their Lab and Laplacian."""
        lab, edges = to_lab(frames), laplacian(frames)
        found = colour_curves(lab)
        found["sharpness"] = sharpness(edges)
        found["step"] = steps(frames, frames[0] if self._last is None else self._last)
        if self._person is not None:
            pairs = zip(frames, (self._boxes[row] for row in rows), strict=True)
            found["identity"] = torch.stack([identity_distance(frame, self._person, box) for frame, box in pairs])
        for name, values in found.items():
            self.curves[name] += values.tolist()
        # A copy, which does not keep the block.
        self._last = frames[-1].clone()
        return lab, edges


class _Distances:
    """FID and VideoMAE distance, as far as there are networks; frames that fill no clip at the end are left out."""

    def __init__(self, networks: Networks):
        self._networks = {name: getattr(networks, name) for name in ("fid", "videomae") if getattr(networks, name)}
        self._distances = {name: FrechetDistance(network.size) for name, network in self._networks.items()}

    def add(self, frames: Tensor, truth: Tensor) -> None:
        """Take in a block of both videos, [n, H, W, 3]."""
        for name, network in self._networks.items():
            if name == "fid" or len(frames) == network.frames:
                self._distances[name].update(network(frames), network(truth))

    def values(self) -> dict[str, float]:
        """The distance of each metric that has a network."""
        return {name: distance.value() for name, distance in self._distances.items()}


def _blocks(count: int, networks: Networks) -> Iterator[range]:
    # A block is a clip of VideoMAE where that is measured.
    size = BLOCK if networks.videomae is None else networks.videomae.frames
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


def _against(
    frames: Tensor,
    truth: Tensor,
    faces: Sequence[Box | None] | None,
    persons: Sequence[Box | None] | None,
    networks: Networks,
) -> dict[str, Tensor]:
    found = {"psnr": psnr(frames, truth), "ssim": ssim(frames, truth)}
    if networks.lpips is not None:
        found["lpips"] = networks.lpips(frames, truth)
    if faces is not None:
        found["face_psnr"] = region_psnr(frames, truth, faces)
    if persons is not None:
        pairs = zip(frames, truth, persons, strict=True)
        found["identity_from_truth"] = torch.stack(
            [identity_distance(mine, person_colours(true, box), box) for mine, true, box in pairs]
        )
    return found


def _steps_of(mine: Sequence[Tensor], true: Sequence[Tensor]) -> tuple[list[Shift], list[int]]:
    """The shifts and the repeats in two videos, from blocks of their signatures."""
    pair = torch.cat(list(mine)), torch.cat(list(true))
    return find_shifts(*pair), find_repeats(*pair)


def _other_length(video: FrameSource, truth: FrameSource, on_frames: Progress | None) -> InputError:
    """The error of videos of unlike lengths: both, and where frames seem to be missing, if that can be told."""
    count, true_count = video.frame_count, truth.frame_count
    rule = "must have as many frames as the video"
    if abs(count - true_count) > MAX_SHIFT:
        return InputError("the true video", rule, count, true_count)
    signs: tuple[list[Tensor], list[Tensor]] = [], []
    for start in range(0, max(count, true_count), BLOCK):
        for blocks, source in zip(signs, (video, truth), strict=True):
            if rows := range(start, min(start + BLOCK, source.frame_count)):
                blocks.append(signatures(source.read(rows)))
        if on_frames is not None:
            on_frames(min(start + BLOCK, count), count)
    found = [f"{line[0].upper()}{line[1:]}" for line in describe(*_steps_of(*signs))]
    return InputError("the true video", rule, count, ". ".join([str(true_count), *found]))


def _seam(join: int, curves: Curves, truth: Curves) -> Seam:
    index = seam_index(torch.tensor(curves["step"]), join)
    return Seam(join, index, seam_index(torch.tensor(truth["step"]), join) if truth else None)


def _check(video: FrameSource, truth: FrameSource | None, joins: Sequence[int]) -> None:
    if not all(source.frame_count for source in (video, truth) if source is not None):
        raise InputError("videos", "must have at least 1 frame", "", "0")
    size = f"{video.width}x{video.height}"
    if min(video.width, video.height) < MIN_SIZE:
        raise InputError("the frames", f"must be at least {MIN_SIZE}x{MIN_SIZE}", "832x480", size)
    if truth is not None:
        true_size = f"{truth.width}x{truth.height}"
        if true_size != size:
            raise InputError("the true video", "must be of the video's size", size, true_size)
        _check_rates(video, truth)
    for join in joins:
        if not 0 < join < video.frame_count:
            raise InputError("joins", f"must be frames within 1..{video.frame_count - 1}", "77", join)


def _check_boxes(
    video: FrameSource, face_boxes: Sequence[Box | None] | None, person_boxes: Sequence[Box | None] | None
) -> None:
    for name, boxes in (("face_boxes", face_boxes), ("person_boxes", person_boxes)):
        if boxes is None:
            continue
        if len(boxes) != video.frame_count:
            raise InputError(name, "must have an entry for every frame", video.frame_count, len(boxes))
        for box in filter(None, boxes):
            _check_box(name, box, video.width, video.height)


def _check_box(name: str, box: Box, width: int, height: int) -> None:
    left, top, right, bottom = box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise InputError(
            name,
            f"must be left, top, right, bottom inside {width}x{height}",
            "10, 5, 30, 25",
            f"{left}, {top}, {right}, {bottom}",
        )


def _check_rates(video: FrameSource, truth: FrameSource) -> None:
    """Raise ValueError for videos of different frame rates; loose images and single frames have none."""
    if not video.fps or not truth.fps or min(video.frame_count, truth.frame_count) == 1:
        return
    if abs(video.fps / truth.fps - 1) > RATE_TOLERANCE:
        raise InputError(
            "the true video",
            "must have the video's frame rate",
            f"{float(video.fps):.6g} a second",
            f"{float(truth.fps):.6g}",
        )
