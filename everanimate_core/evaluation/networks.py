"""The metrics that need weights, as far as the user has supplied them; nothing is ever downloaded here."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..digests import sha256
from .frechet import INCEPTION_URL, VIDEOMAE_WEIGHTS, Inception, VideoMae
from .lpips import FETCH, Lpips, load_lpips
from .lpips_weights import default_path

# What stands in a report instead of the number.
MISSING = {
    "lpips": f"n/a (weights missing, get them with `{FETCH}`)",
    "fid": f"n/a (weights missing, get them with `curl -O {INCEPTION_URL}` and name the file by --inception)",
    "videomae": "n/a (weights missing, get them with `hf download MCG-NJU/videomae-base --local-dir videomae` and name "
    "the folder by --videomae)",
}


@dataclass(frozen=True)
class Networks:
    """Networks of the metrics of the same names; None: that metric is missing. sha256: of their files, by metric."""

    lpips: Lpips | None = None
    fid: Inception | None = None
    videomae: VideoMae | None = None
    sha256: dict[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> dict[str, str]:
        """Of every metric without its network, how to get the weights."""
        return {name: how for name, how in MISSING.items() if getattr(self, name) is None}


def load_networks(
    lpips: str | Path | None = None,
    inception: str | Path | None = None,
    videomae: str | Path | None = None,
    device: torch.device | str = "cpu",
) -> Networks:
    """Load what there are weights for, onto `device`.

    lpips: a file of `--fetch-lpips`; None: the one in the user's cache, if it is there. inception: the file of FID.
    videomae: a transformers folder. Raises ValueError for weights other than a metric's own and for LPIPS' file
    or VideoMAE's folder that is not there, FileNotFoundError for Inception's.
    """
    if lpips is None and default_path().is_file():
        lpips = default_path()
    files = {"lpips": lpips, "fid": inception, "videomae": videomae and Path(videomae) / VIDEOMAE_WEIGHTS}
    return Networks(
        lpips=None if lpips is None else load_lpips(lpips).to(device),
        fid=None if inception is None else Inception(inception, device),
        videomae=None if videomae is None else VideoMae(videomae, device),
        sha256={name: sha256(path) for name, path in files.items() if path is not None},
    )
