"""The drift simulator P of restorative flow matching (arXiv 2605.15042, section 4.2): z~ = encode(P(clip)).

Long roll-outs gain contrast and colour and lose detail; P does the same to a training clip. What is done is drawn
once a clip, apart from doing it: every frame gets the same, and a Perturbation says all of it (plain numbers, which
`dataclasses.asdict` makes ready for JSON).

    released   what the authors' code does (see RELEASED_* for every probability and range)
    paper      what the paper names, without numbers: colour shift, sharpness, saturation; the numbers are ours
    light      what a long roll-out was seen to do: the whole clip in another light, mostly with more contrast and
               colour, without the tiles and patches of `released`; of our own
"""

from dataclasses import dataclass
from math import exp

import numpy as np
import torch
from torch import Tensor

from ..errors import check_choice, needed

RECIPES = ("released", "paper", "light")

# Only noisy states are perturbed: late in a trajectory restoring over-constrains the clean end (paper, below Eq. 11).
GATE_SIGMA, GATE_PROBABILITY = 0.5, 0.64

RELEASED_CLAHE, RELEASED_CLIP_LIMIT, RELEASED_GRID = 0.9, (1.0, 64.0), (1, 32)
RELEASED_SATURATION, RELEASED_SATURATION_FACTOR = 0.3, (1.3, 3.0)
RELEASED_BRIGHTNESS, RELEASED_BRIGHTNESS_FACTOR = 0.1, (0.8, 1.2)
RELEASED_ERASE, RELEASED_ERASED, RELEASED_SIDE, RELEASED_REDUCTION = 0.9, (1, 4), (0.1, 0.3), (8, 32)
# Pixels that a side of an erased patch has at least, which counts where the frame has less than 80.
RELEASED_SMALLEST = 8

PAPER_PROBABILITY = 0.8
PAPER_SHIFT, PAPER_SHARPNESS, PAPER_SATURATION = (-0.1, 0.1), (0.0, 3.0), (0.5, 2.0)
# Mean and spread of normal numbers. Exposure, temperature and tint are logarithms of a gain, so are the next two.
LIGHT_EXPOSURE, LIGHT_TEMPERATURE, LIGHT_TINT = (0.0, 0.08), (0.0, 0.06), (0.0, 0.025)
LIGHT_CONTRAST, LIGHT_SATURATION, LIGHT_SHARPNESS = (0.05, 0.15), (0.08, 0.2), (1.1, 0.4)
# Spread, in pixels, of the blur whose difference from the frame is what sharpness scales.
SHARPNESS_BLUR = 1.0


@dataclass(frozen=True)
class Clahe:
    """Contrast-limited adaptive histogram equalisation: clip limit, and tiles a side."""

    clip_limit: float
    grid: int


@dataclass(frozen=True)
class ErasedPatch:
    """A rectangle (pixels) whose detail is lost: reduced `reduction` times a side, and enlarged again."""

    top: int
    left: int
    height: int
    width: int
    reduction: int


@dataclass(frozen=True)
class Perturbation:
    """What is done to every frame of a clip, in this order; the defaults do nothing.

    clahe: equalisation of lightness. gains: factors of R, G, B. colour_shift: added to R, G, B (0..1). contrast: a
    factor of the distance from mid-grey. sharpness: 0 blurs, 1 keeps, above sharpens. saturation: 0 is grey, 1 keeps,
    above exaggerates. brightness: a factor. erased: rectangles that lose their detail.
    """

    clahe: Clahe | None = None
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    colour_shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    contrast: float = 1.0
    sharpness: float = 1.0
    saturation: float = 1.0
    brightness: float = 1.0
    erased: tuple[ErasedPatch, ...] = ()


class _Dice:
    """Numbers from one generator."""

    def __init__(self, generator: torch.Generator):
        self._generator = generator

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self._generator, dtype=torch.float64))

    def normal(self, mean: float, spread: float) -> float:
        return mean + spread * float(torch.randn((), generator=self._generator, dtype=torch.float64))

    def integer(self, low: int, high: int) -> int:
        """One of low..high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self._generator))

    def coin(self, probability: float) -> bool:
        return self.uniform(0, 1) < probability


def is_perturbed(sigma: float, generator: torch.Generator) -> bool:
    """Whether a training sample at noise level `sigma` is perturbed: with p = 0.64 where sigma >= 0.5, else never.

    Draws its coin at every sigma, so that what is drawn next does not depend on it.
    """
    coin = _Dice(generator).coin(GATE_PROBABILITY)
    return coin and sigma >= GATE_SIGMA


def draw(
    recipe: str, height: int, width: int, generator: torch.Generator, smallest: int = RELEASED_SMALLEST
) -> Perturbation:
    """Draw what happens to one clip of height x width pixels; `recipe` is one of RECIPES, else InputError.

    smallest: pixels that a side of an erased patch has at least, where the frame has as many.
    """
    check_choice("recipe", recipe, RECIPES)
    dice = _Dice(generator)
    if recipe == "released":
        return _draw_released(dice, height, width, smallest)
    return _draw_paper(dice) if recipe == "paper" else _draw_light(dice)


def _draw_released(dice: _Dice, height: int, width: int, smallest: int) -> Perturbation:
    clahe = Clahe(dice.uniform(*RELEASED_CLIP_LIMIT), dice.integer(*RELEASED_GRID))
    saturation = dice.uniform(*RELEASED_SATURATION_FACTOR)
    brightness = dice.uniform(*RELEASED_BRIGHTNESS_FACTOR)
    erased = tuple(_draw_patch(dice, height, width, smallest) for _ in range(dice.integer(*RELEASED_ERASED)))
    neutral = Perturbation()
    return Perturbation(
        clahe=clahe if dice.coin(RELEASED_CLAHE) else neutral.clahe,
        saturation=saturation if dice.coin(RELEASED_SATURATION) else neutral.saturation,
        brightness=brightness if dice.coin(RELEASED_BRIGHTNESS) else neutral.brightness,
        erased=erased if dice.coin(RELEASED_ERASE) else neutral.erased,
    )


def _draw_patch(dice: _Dice, height: int, width: int, smallest: int) -> ErasedPatch:
    """A rectangle that lies inside the frame, every place equally likely."""
    shares = (side * dice.uniform(*RELEASED_SIDE) for side in (height, width))
    tall, wide = (min(side, max(smallest, round(share))) for side, share in zip((height, width), shares, strict=True))
    top, left = dice.integer(0, height - tall), dice.integer(0, width - wide)
    return ErasedPatch(top, left, tall, wide, dice.integer(*RELEASED_REDUCTION))


def _draw_paper(dice: _Dice) -> Perturbation:
    red, green, blue = (dice.uniform(*PAPER_SHIFT) for _ in range(3))
    sharpness, saturation = dice.uniform(*PAPER_SHARPNESS), dice.uniform(*PAPER_SATURATION)
    neutral = Perturbation()
    return Perturbation(
        colour_shift=(red, green, blue) if dice.coin(PAPER_PROBABILITY) else neutral.colour_shift,
        sharpness=sharpness if dice.coin(PAPER_PROBABILITY) else neutral.sharpness,
        saturation=saturation if dice.coin(PAPER_PROBABILITY) else neutral.saturation,
    )


def _draw_light(dice: _Dice) -> Perturbation:
    exposure, temperature, tint = (dice.normal(*each) for each in (LIGHT_EXPOSURE, LIGHT_TEMPERATURE, LIGHT_TINT))
    return Perturbation(
        gains=(exp(exposure + temperature - tint / 2), exp(exposure + tint), exp(exposure - temperature - tint / 2)),
        contrast=exp(dice.normal(*LIGHT_CONTRAST)),
        saturation=exp(dice.normal(*LIGHT_SATURATION)),
        sharpness=max(0.0, dice.normal(*LIGHT_SHARPNESS)),
    )


def apply(perturbation: Perturbation, frames: Tensor) -> Tensor:
    """P: the frames [F, H, W, 3] float32 in 0..1 on the CPU, perturbed; a new tensor of the same shape and range.

    H and W are those that the perturbation was drawn for. What is neutral in it leaves every bit as it is.
    """
    result = frames.clone(memory_format=torch.contiguous_format)
    for frame in result.numpy():
        frame[:] = _perturbed(perturbation, frame)
    return result


def _perturbed(perturbation: Perturbation, frame: np.ndarray) -> np.ndarray:
    """One frame [H, W, 3], perturbed; may be the frame itself."""
    if perturbation.clahe is not None:
        frame = equalise(frame, perturbation.clahe)
    if perturbation.gains != (1, 1, 1):
        frame = (frame * np.asarray(perturbation.gains, dtype=np.float32)).clip(0, 1)
    if any(perturbation.colour_shift):
        frame = (frame + np.asarray(perturbation.colour_shift, dtype=np.float32)).clip(0, 1)
    if perturbation.contrast != 1:
        frame = ((frame - 0.5) * np.float32(perturbation.contrast) + 0.5).clip(0, 1)
    if perturbation.sharpness != 1:
        frame = sharpen(frame, perturbation.sharpness)
    if perturbation.saturation != 1:
        frame = saturate(frame, perturbation.saturation)
    if perturbation.brightness != 1:
        frame = (frame * np.float32(perturbation.brightness)).clip(0, 1)
    for patch in perturbation.erased:
        frame = erase_detail(frame, patch)
    return frame


def equalise(frame: np.ndarray, clahe: Clahe) -> np.ndarray:
    """CLAHE on the L of Lab, in 8 bits as the authors have it: the clip limit is relative to 256 bins."""
    cv2 = needed("cv2", "Perturbation")
    lab = cv2.cvtColor(np.round(frame * 255).astype(np.uint8), cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clahe.clip_limit, (clahe.grid, clahe.grid)).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).astype(np.float32) / 255


def sharpen(frame: np.ndarray, factor: float) -> np.ndarray:
    """Unsharp masking: `factor` times what a blur takes away, on top of the blur."""
    cv2 = needed("cv2", "Perturbation")
    blurred = cv2.GaussianBlur(frame, (0, 0), SHARPNESS_BLUR)
    return (blurred + np.float32(factor) * (frame - blurred)).clip(0, 1)


def saturate(frame: np.ndarray, factor: float) -> np.ndarray:
    """`factor` times the distance from grey (luma of ITU-R BT.601)."""
    cv2 = needed("cv2", "Perturbation")
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None]
    return (grey + np.float32(factor) * (frame - grey)).clip(0, 1)


def erase_detail(frame: np.ndarray, patch: ErasedPatch) -> np.ndarray:
    """Reduce the patch by area and enlarge it bilinearly."""
    inside = np.s_[patch.top : patch.top + patch.height, patch.left : patch.left + patch.width]
    small = max(1, patch.width // patch.reduction), max(1, patch.height // patch.reduction)
    cv2 = needed("cv2", "Perturbation")
    reduced = cv2.resize(frame[inside], small, interpolation=cv2.INTER_AREA)
    result = frame.copy()
    result[inside] = cv2.resize(reduced, (patch.width, patch.height), interpolation=cv2.INTER_LINEAR)
    return result
