"""What running without ComfyUI, or on another one, needs: the packages of the extra `cli`."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def extra_packages(work: str = "running without ComfyUI") -> Iterator[None]:
    """Around imports of packages of the extra: an ImportError says how to install them, and for what `work`."""
    try:
        yield
    # diffusers makes RuntimeErrors of what it cannot import itself.
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f"everanimate: {work} needs more packages (pip install 'everanimate[cli]'); got {error}."
        ) from error
