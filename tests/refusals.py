"""What is said when something is refused."""

import pytest


def refusal(call, *args, **kwargs):
    """The message of the ValueError that `call` raises."""
    with pytest.raises(ValueError) as caught:
        call(*args, **kwargs)
    return str(caught.value)
