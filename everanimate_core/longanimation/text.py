"""How long a prompt can be."""

from ..errors import InputError

# The network was trained with texts of this length, their padding included.
TEXT_TOKENS = 226


def check_text(name: str, tokens: int) -> None:
    """Raise InputError for a prompt of more tokens: cutting its end would change what it says."""
    if tokens > TEXT_TOKENS:
        raise InputError(name, f"must have at most {TEXT_TOKENS} tokens", "about 150 words", tokens)
