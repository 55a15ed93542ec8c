"""The processes of a training stop together: none waits for one that could not go on."""

from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from ..runs.store import RunFailed
from .reading import FAULTS

Result = TypeVar("Result")


class TrainingFailed(RunFailed):
    """A training that could not go on. The message says at which step, what is kept, and how to go on."""


def together(accelerator: Accelerator, work: Callable[[], Result], failed: Callable[[str], TrainingFailed]) -> Result:
    """What `work` gives in this process. When it fails in any of them, all raise what `failed` makes of the reasons.

    Every process must call this, at the same place. Bad files and full disks are reasons; other errors are raised as
    they are.
    """
    reason = cause = None
    try:
        result = work()
    except FAULTS as error:
        reason, cause = str(error), error
    failures = torch.tensor(float(reason is not None), device=accelerator.device)
    if accelerator.reduce(failures, "sum") > 0:
        reasons = [text for text in gather_object([reason]) if text is not None]
        raise failed("; ".join(dict.fromkeys(reasons))) from cause
    return result
