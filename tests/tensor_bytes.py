"""Bytes of the tensors that are alive, counted at every operation: what a device would hold, without its allocator."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class TensorBytes(TorchDispatchMode):
    """While it is on: now, bytes of the storages that were made meanwhile and still are; peak, the most of them.

    given: tensors that were there before and count from the beginning.
    """

    def __init__(self, given=()):
        super().__init__()
        self.now = self.peak = 0
        self._known = weakref.WeakValueDictionary()
        for tensor in given:
            self._count(tensor)

    def _count(self, tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            self._known[storage._cdata] = storage
            self.now += storage.nbytes()
            weakref.finalize(storage, self._freed, storage.nbytes())

    def _freed(self, size):
        self.now -= size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf)
        self.peak = max(self.peak, self.now)
        return result
