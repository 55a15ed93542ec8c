"""What the nodes that make a whole video have in common: how to sample, a prompt for each chunk, and the run."""

from collections.abc import Callable
from pathlib import Path

import comfy.samplers
from torch import Tensor

from ..everanimate_core.everanimate.flow import check_sigmas, sigma_schedule
from ..everanimate_core.ports import Codec
from ..everanimate_core.runs.job import Job
from ..everanimate_core.runs.run import Outcome, run
from ..everanimate_core.runs.settings import RunSettings
from ..everanimate_core.runs.store import RunStore
from ..everanimate_core.runs.videos import NumberedVideos
from .fingerprint import conditioning_digest
from .showing import RunProgress


def asked_sampling(settings, sampler, sigmas: Tensor | None) -> tuple[comfy.samplers.Sampler, Tensor]:
    """The SAMPLER and the noise levels that a node was given, in their absence euler and those of its settings.

    Raises InputError for noise levels that cannot serve.
    """
    sampler = comfy.samplers.sampler_object("euler") if sampler is None else sampler
    sigmas = sigma_schedule(settings.steps, settings.shift) if sigmas is None else sigmas
    check_sigmas(sigmas)
    return sampler, sigmas


def asked_prompts(positive: list, prompts: list | None) -> tuple[list, list[str]]:
    """A CONDITIONING for each chunk, the last one for all that follow, and their digests."""
    name = "positive" if prompts is None else "prompts"
    found = [positive] if prompts is None else [[prompt] for prompt in prompts]
    return found, [conditioning_digest(prompt, name) for prompt in found]


def run_here(
    job: Job, folder: Path, sample_chunk: Callable, codec: Codec, asked: RunSettings, progress: RunProgress
) -> Outcome:
    """Make the job's video in the run's folder, with the signs of life of a node.

    The VAE is used in this thread alone, wherever it stands: the host's management of models serves one thread.
    """
    places = RunStore(folder), sample_chunk, codec, NumberedVideos(folder)
    with progress:
        return run(job, *places, asked, **progress.callbacks(), codec_beside=False)
