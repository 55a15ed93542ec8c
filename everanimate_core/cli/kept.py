"""What takes minutes to load, kept for whatever comes next in the same process."""

from collections.abc import Callable, Hashable
from typing import Any


class Kept:
    """The networks of the last job, for as long as the next one asks for the same."""

    def __init__(self) -> None:
        self.key: Hashable = None
        self.value: Any = None

    def get(self, key: Hashable, load: Callable[[], Any]) -> Any:
        """What `load` gives, or gave the last time, if that was under an equal key. The old goes before the new comes:
        there is seldom room for both."""
        if self.value is None or self.key != key:
            self.value = None
            self.key, self.value = key, load()
        return self.value
