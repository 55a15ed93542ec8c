"""What is said when something is refused."""

import pytest


def refusal(call, *args, kind=ValueError, **options):
    """The message of the error of the class `kind` that `call` raises."""
    with pytest.raises(kind) as caught:
        call(*args, **options)
    return str(caught.value)
