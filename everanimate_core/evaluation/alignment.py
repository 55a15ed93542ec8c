"""Whether a video keeps step with the true one: frames that are missing, shown twice, or shifted.

What is compared is how small pictures change over a few frames, not the pictures: drifting colours, blur and another
background hardly change from frame to frame, so they cancel. A shift is how many frames the video runs ahead: frame i
of the video shows frame i + shift of the true one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool1d

from .drift import running_median

# Cells of a small picture, across and down; the numbers of frames over which its change is looked at.
SIDE, LAGS = 16, (4, 8)
# Larger shifts are not looked for.
MAX_SHIFT = 16
# What it takes to believe a change of the shift, and a little more for each frame of it: of shifts that explain as
# much, as in a motion that repeats, the smallest is said. In nats of evidence; set on animations of the toy world.
CHANGE, STEP = 6.0, 0.25
# Errors of neighbouring frames are alike: so many frames are one witness.
WITNESS = 4
# How loud a single frame may speak, in distances between the two frames that it could be: a flash is no witness.
LOUDEST = 1.5
# Frames around a frame that tell how unlike the videos are there, and around a change that tell where it lies.
AROUND, NEAR = 24, 8
# Correlation of how both videos change: 0.7 in animations of the toy world, 0.1 in those of another motion.
ALIVE = 0.4
# Frames of a stretch that need no more than that.
LONG = 24
# Places of a change that explain almost as much as the best one.
ALIKE = 1.25
# Frames to each side that make a short stretch; the best error of all shifts there is not half of the right one's.
BRIEF, TOO_GOOD = 3, 5.0
# Mean squared difference that no one sees, a fortieth of an 8-bit step.
STILL = 1e-8
# A frame shows the one before again if it changes a thirtieth as much as the true video, and as the frames around it.
FROZEN = 1e-3
_BLOCK = 512


@dataclass(frozen=True)
class Shift:
    """From this frame of the video on, it runs so many frames ahead of the true video (negative: behind, 0: in step).

    within: how many frames off the place may be; it is exact where the videos are like enough.
    """

    frame: int
    ahead: int
    within: int = 0


def signatures(frames: Tensor) -> Tensor:
    """Small pictures of frames [F, H, W, 3] in 0..1: [F, 768], half precision, 1.5 KB a frame."""
    return adaptive_avg_pool2d(frames.movedim(-1, 1), SIDE).flatten(1).nan_to_num().half()


def find_shifts(mine: Tensor, true: Tensor) -> list[Shift]:
    """Where a video changes its shift to the true one, from their signatures [F, 768] and [F', 768].

    In order, only what is clear: nothing where nothing moves. Shifts up to 16 frames are found, in an animation
    those that hold for two or three seconds, in a copy of the true video those of some frames too.
    """
    score, repeats = _evidence(mine, true), find_repeats(mine, true)
    found: list[Shift] = []
    for change, stop in _changes_of(_likeliest(score, len(true))):
        before = found[-1] if found else Shift(-1, 0)
        # Where one of the two leads out of the true video, there is nothing to compare.
        low, high = sorted((change.ahead, before.ahead))
        inside = range(max(change.frame, LAGS[0], LAGS[0] - low), min(stop, len(true) - high))
        # In a stretch that the differences reach across, shifts between those before and behind it look right.
        long = stop - change.frame >= max(LAGS)
        if (
            long
            and low < high
            and _believed(mine, true, score, torch.tensor(inside, dtype=torch.long), change.ahead, before.ahead)
        ):
            found.append(_placed(mine, true, before.ahead, change, range(before.frame + 1, stop), repeats))
    return found


def find_repeats(mine: Tensor, true: Tensor) -> list[int]:
    """Frames that show the one before again while the true video goes on; from signatures as above."""
    blocks = torch.arange(min(len(mine), len(true))).split(_BLOCK)
    steps = torch.stack(
        [torch.cat([_changes(video, 1, rows).square().mean(dim=1) for rows in blocks]) for video in (mine, true)], dim=1
    )
    still, moving = steps.unbind(dim=1)
    usual, usual_true = _around(steps, NEAR).unbind(dim=1)
    # Where the true video hardly moves either, no one sees a frame twice, and a codec may well leave one out.
    found = (still < FROZEN * torch.minimum(moving, usual)) & (moving > STILL) & (moving > usual_true / 4)
    return found.nonzero().flatten().tolist()


def describe(shifts: Sequence[Shift], repeats: Sequence[int]) -> list[str]:
    """The findings as sentences, one for each shift, and one for the repeats that are none of a shift."""
    lines, before = [], 0
    for shift in shifts:
        lines.append(_event(shift, before) + _state(shift.ahead, shift.frame))
        before = shift.ahead
    told = {shift.frame for shift in shifts}
    alone = [frame for frame in repeats if frame not in told]
    if len(alone) == 1:
        lines.append(f"frame {alone[0]} shows the one before again")
    elif alone:
        lines.append(f"{len(alone)} frames show the one before again, the first of them frame {alone[0]}")
    return lines


def _event(shift: Shift, before: int) -> str:
    first, jump = shift.frame + before, shift.ahead - before
    about, there = ("about " if shift.within else ""), f": from frame {shift.frame} on "
    if not shift.frame:
        return ""
    if jump == 1:
        return f"{about}frame {first} of the true video is missing{there}"
    if jump > 1:
        return f"{about}frames {first} to {first + jump - 1} of the true video are missing{there}"
    if jump == -1:
        return f"{about}frame {shift.frame - 1} is shown twice{there}"
    return f"{-jump} frames too many at {about}frame {shift.frame}{there}"


def _state(ahead: int, frame: int) -> str:
    if not ahead:
        return "the video is in step again"
    frames = f"{abs(ahead)} frame{'s' if abs(ahead) > 1 else ''}"
    return f"the video runs {frames} {'ahead' if ahead > 0 else 'behind'}{'' if frame else ' from its start on'}"


def _changes(signs: Tensor, lag: int, rows: Tensor | None = None) -> Tensor:
    """How every signature (of those numbers) differs from the one `lag` before; 0 for those that have none."""
    numbers = torch.arange(len(signs)) if rows is None else rows
    return signs[numbers].float() - signs[(numbers - lag).clamp(min=0)].float()


def _changes_of(path: np.ndarray) -> Iterator[tuple[Shift, int]]:
    """Every change of a path of shifts [F], which begins with 0, and the frame where the next one is."""
    changes = [Shift(int(frame), int(path[frame])) for frame in np.flatnonzero(np.diff(path, prepend=0))]
    return zip(changes, [*(change.frame for change in changes[1:]), len(path)], strict=False)


def _evidence(mine: Tensor, true: Tensor) -> np.ndarray:
    """How much every frame speaks for every shift rather than for none, in nats: [F, 2 MAX_SHIFT + 1]."""
    first, *others = (_evidence_over(mine, true, lag) for lag in LAGS)
    return sum(others, first) / len(LAGS)


def _evidence_over(mine: Tensor, true: Tensor, lag: int) -> np.ndarray:
    blocks = torch.arange(len(mine)).split(_BLOCK)
    gains, errors = zip(*(_block_evidence(mine, true, lag, rows) for rows in blocks), strict=True)
    error = _usual_error(torch.cat(errors)) + STILL * mine.shape[1]
    score = (torch.cat(gains) / (2 * WITNESS * error)).numpy()
    _beyond_the_ends(score, len(true), lag)
    return score


def _usual_error(errors: Tensor) -> Tensor:
    """Of the errors [F, n] of every shift that of the right one, around each frame: [F, 1].

    The smallest over a long stretch. Where the shift changes within it, that of the best shifts of short ones is
    smaller; but the best of so many is too good.
    """
    whole = _around(errors, AROUND).min(dim=1, keepdim=True).values
    # The middle one, which frames beside a change, whose differences reach across it, do not move.
    parts = running_median(_around(errors, BRIEF).min(dim=1).values, 2 * AROUND + 1)
    return torch.minimum(whole, TOO_GOOD * parts[:, None])


def _block_evidence(mine: Tensor, true: Tensor, lag: int, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """For the frames of a block and every shift: by how much the squared distance is smaller than that to no shift,
    and the squared error in the direction in which frames move, NaN where nothing moves; both [n, 2 MAX_SHIFT + 1]."""
    last = len(true) - 1
    change = _changes(mine, lag, numbers)
    # The true video's changes around the block, of which every shift is a part, and the ways from the one before each
    # to the one behind it.
    first, stop = int(numbers[0]) - MAX_SHIFT - 1, int(numbers[-1]) + MAX_SHIFT + 2
    every = _changes(true, lag, torch.arange(first, stop).clamp(0, last))
    ways = every[2:] - every[:-2]
    every, lengths = every[1:-1], ways.square().sum(dim=1)
    unshifted = every[MAX_SHIFT : MAX_SHIFT + len(numbers)]
    off = change - unshifted
    frozen = change.square().sum(dim=1) < FROZEN * unshifted.square().sum(dim=1)
    gains, errors = [], []
    for shift in range(-MAX_SHIFT, MAX_SHIFT + 1):
        rows = slice(MAX_SHIFT + shift, MAX_SHIFT + shift + len(numbers))
        known = (numbers >= lag) & (numbers + shift >= lag) & (numbers + shift <= last) & ~frozen
        apart = every[rows] - unshifted
        squares = apart.square().sum(dim=1)
        gain = (2 * (off * apart).sum(dim=1) - squares).clamp(-2 * LOUDEST * squares, 2 * LOUDEST * squares)
        gains.append(torch.where(known, gain, 0.0))
        error = ((change - every[rows]) * ways[rows]).sum(dim=1).square() / lengths[rows]
        errors.append(torch.where(known & (lengths[rows] > STILL * mine.shape[1]), error, torch.nan))
    return torch.stack(gains, dim=1), torch.stack(errors, dim=1)


def _around(curves: Tensor, reach: int) -> Tensor:
    """Mean of each column [F, n] over the frames up to `reach` away, without those that are NaN; inf for none."""
    known = curves.isfinite()
    padded = torch.stack([curves.nan_to_num() * known, known.float()]).movedim(1, 2)
    total, count = avg_pool1d(padded, 2 * reach + 1, stride=1, padding=reach).movedim(2, 1)
    return torch.where(count > 0, total / count, torch.inf)


def _believed(mine: Tensor, true: Tensor, score: np.ndarray, rows: Tensor, shift: int, other: int) -> bool:
    """Whether the frames of these numbers show that a shift is right and not the other one: there is evidence, the
    changes of both videos are alike at all, and in a short stretch they are much more alike than with the other."""
    evidence = score[rows, MAX_SHIFT + shift].sum() - score[rows, MAX_SHIFT + other].sum()
    mine, true, other_true = (
        _changes(video, LAGS[0], numbers)
        for video, numbers in ((mine, rows), (true, rows + shift), (true, rows + other))
    )
    alike = (mine * true).sum() > ALIVE * mine.norm() * true.norm()
    plain = (mine - true).square().sum() < (mine - other_true).square().sum() / 2
    return bool(evidence > CHANGE and alike and (plain or len(rows) >= LONG))


def _beyond_the_ends(score: np.ndarray, length: int, lag: int) -> None:
    """Where a shift leads out of the true video, of `length`, nothing speaks against it: it counts as the best one."""
    for frame in range(lag, min(lag + MAX_SHIFT, len(score))):
        score[frame, : max(0, MAX_SHIFT + lag - frame)] = max(0.0, score[frame].max())
    for frame in range(max(0, length - MAX_SHIFT), len(score)):
        score[frame, max(0, MAX_SHIFT + length - frame) :] = max(0.0, score[frame].max())


def _likeliest(score: np.ndarray, length: int) -> np.ndarray:
    """The shift of every frame, [F], on the path with the most evidence, less the price of its changes (Viterbi).

    length: of the true video; no change leads behind its end.
    """
    shifts = np.arange(-MAX_SHIFT, MAX_SHIFT + 1)
    jump = np.abs(shifts[:, None] - shifts)
    price = np.where(jump > 0, CHANGE + STEP * jump, 0)
    best, came = score[0] - price[MAX_SHIFT], np.zeros(score.shape, dtype=np.int16)
    for frame in range(1, len(score)):
        ways = best[:, None] - price
        ways[(jump > 0) & (frame + shifts >= length)] = -np.inf
        came[frame] = ways.argmax(axis=0)
        best = ways.max(axis=0) + score[frame]
    path = np.empty(len(score), dtype=np.int64)
    path[-1] = best.argmax()
    for frame in range(len(score) - 1, 0, -1):
        path[frame - 1] = came[frame, path[frame]]
    return shifts[path]


def _placed(mine: Tensor, true: Tensor, before: int, change: Shift, allowed: range, repeats: Sequence[int]) -> Shift:
    """The change at the frame near it where it explains best how both videos go on from frame to frame.

    allowed: frames where it may be. One to fewer frames is at the nearest of `repeats`. Where nothing speaks against
    it, the change is at the start.
    """
    reach = NEAR + max(LAGS)
    near = range(max(allowed.start, change.frame - reach), min(allowed.stop, change.frame + reach + 1))
    doubled = [frame for frame in repeats if frame in near]
    if change.ahead < before and doubled:
        return Shift(min(doubled, key=lambda frame: abs(frame - change.frame)), change.ahead)
    rows = torch.arange(max(0, near.start - reach), min(len(mine), near.stop + reach))
    changes = {lag: _changes(mine, lag, rows) for lag in (1, LAGS[0])}

    def cost(place: int) -> float:
        def shown(numbers: Tensor) -> Tensor:
            shifts = torch.where(numbers < place, before, change.ahead)
            return true[(numbers + shifts).clamp(0, len(true) - 1)].float()

        expected = {lag: shown(rows) - shown((rows - lag).clamp(min=0)) for lag in changes}
        return sum(float((changes[lag] - expected[lag]).square().sum()) for lag in changes)

    costs = {place: cost(place) for place in near}
    least = min(costs, key=costs.__getitem__)
    alike = [place for place in near if costs[place] <= ALIKE * costs[least] + STILL * mine.shape[1]]
    if alike[0] == 0:
        return Shift(0, change.ahead)
    return Shift(least, change.ahead, max(abs(place - least) for place in alike))
