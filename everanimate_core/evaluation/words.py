"""What an evaluation found, in words."""

from .alignment import describe
from .doubling import describe_doubled
from .report import Findings


def all_found(findings: Findings) -> list[str]:
    """The findings, a sentence each; one that nothing was found, if so."""
    values = vars(findings)
    lasting = [name for name in ("colour", "sharpness", "identity") if values[name] is not None]
    single = [f"{name} at {', '.join(map(str, values[name]))}" for name in ("flashes", "seams") if values[name]]
    return [
        *(f"{name} departs at frame {values[name]}" for name in lasting),
        *single,
        *steps_found(findings),
    ] or ["no departure, no flash, no visible seam"]


def steps_found(findings: Findings) -> list[str]:
    """Those about frames that are missing or shown again."""
    return describe(findings.shifts, findings.repeats) + describe_doubled(findings.doubled)
