"""Line art as the network was trained to see it: white lines on black, nothing between."""

from torch import Tensor

# Brightness up to which a pixel of line art that is dark on light counts as a line (as released).
THRESHOLD = 0.78
STYLES = ("dark_on_light", "light_on_dark")
# Brightness of what the lines are drawn on.
PAPER = dict(zip(STYLES, (1.0, 0.0), strict=True))
_LUMA = (0.299, 0.587, 0.114)


def white_on_black(frames: Tensor, style: str = STYLES[0], threshold: float = THRESHOLD) -> Tensor:
    """Line art [F, H, W, 3] in 0..1 as [F, H, W, 3] of zeros and ones, lines 1; style: one of STYLES."""
    luma = (frames * frames.new_tensor(_LUMA)).sum(dim=-1, keepdim=True)
    if style == STYLES[1]:
        luma = 1 - luma
    return (luma <= threshold).to(frames.dtype).expand_as(frames).contiguous()
