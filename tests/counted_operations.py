"""Counting what PyTorch launches on a device, and how often the host waits for its answer."""

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Nothing is computed by these: another view of the same memory, or memory alone.
_VIEWS = """
    alias as_strided broadcast_to chunk detach diagonal empty empty_like empty_strided expand
    flatten is_same_size lift_fresh movedim narrow new_empty new_empty_strided permute prim_device
    real resolve_conj resolve_neg select slice split split_with_sizes squeeze stride sym_numel
    sym_size sym_stride sym_storage_offset t transpose unbind unfold unsafe_split unsqueeze view
    view_as _reshape_alias _unsafe_view set_ data"""
VIEWS = frozenset(_VIEWS.split())
# After these the host knows something that was computed on the device.
_LOOKS = """
    _local_scalar_dense item is_nonzero nonzero masked_select _unique _unique2 unique_dim
    unique_consecutive bincount equal repeat_interleave"""
LOOKS = frozenset(_LOOKS.split())


class CountedOperations(TorchDispatchMode):
    """Counts while it is entered.

    Attributes:
        launched: Operations that compute something, by name.
        looks: Those after which the host must wait, by name; `looked` is their number and that
            of copies to the host.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launched: Counter[str] = Counter()
        self.looks: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        space, _, name = func._schema.name.partition("::")
        if name in LOOKS or _reaches_host(name, args, result):
            self.looks[name] += 1
        if name not in VIEWS and space != "prim":
            self.launched[name] += 1
        return result

    @property
    def operations(self) -> int:
        return self.launched.total()

    @property
    def looked(self) -> int:
        return self.looks.total()


def _reaches_host(name: str, args: Any, result: Any) -> bool:
    if name not in ("_to_copy", "copy_") or not isinstance(result, torch.Tensor):
        return False
    source = args[1] if name == "copy_" else args[0]
    return source.device.type == "cuda" and result.device.type == "cpu"
