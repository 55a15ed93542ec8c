"""What running without ComfyUI needs: the packages of the extra `cli`."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def extra_packages() -> Iterator[None]:
    """Around imports from diffusers and transformers: an ImportError says how to install them."""
    try:
        yield
    # diffusers makes RuntimeErrors of what it cannot import itself.
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f"everanimate: running without ComfyUI needs more packages (pip install 'everanimate[cli]'); got {error}."
        ) from error
