"""Which chunk or window a LATENT is for, written on it: samplers keep what they do not know."""

from ..everanimate_core.errors import InputError

_MARK = "everanimate_index"


def made_for(index: int, latent: dict) -> dict:
    """A LATENT that says which chunk or window it is for."""
    return latent | {_MARK: index}


def check_made_for(index: int, latent: dict, called: str) -> None:
    """Raise InputError for the LATENT `samples` of another one; one that says nothing may be any.

    called: "chunk" or "window".
    """
    other = latent.get(_MARK, index)
    if other != index:
        raise InputError("samples", f"must be of {called} {index}", "those of its own sampler", f"{called} {other}")
