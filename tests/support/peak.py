"""Memory that a network needs at its peak: by count, on the meta device where nothing is computed, or in a real run."""

from __future__ import annotations

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Peak(TorchDispatchMode):
    """Within this, `bytes` is the most that tensors made on a device have taken at one time.

    What an operator takes for itself, such as a convolution's workspace, is not seen.
    """

    def __init__(self, device="meta"):
        super().__init__()
        self.bytes = self._alive = 0
        self._device = device
        self._known: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self._count((args, kwargs), new=False)  # weights and inputs, also where the result is a view of one
        self._count(result, new=True)
        self.bytes = max(self.bytes, self._alive)
        return result

    def _count(self, tree, *, new):
        for tensor in tree_leaves(tree):
            if not isinstance(tensor, torch.Tensor) or tensor.device.type != self._device:
                continue
            storage = tensor.untyped_storage()
            if storage._cdata not in self._known:
                self._known.add(storage._cdata)
                size = storage.nbytes() if new else 0
                self._alive += size
                weakref.finalize(storage, self._forget, storage._cdata, size)

    def _forget(self, key, size):
        self._known.discard(key)
        self._alive -= size
