"""The number format in which a network computes: one context around its call; knows no network."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

import torch

Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def autocast(device: torch.device | str, precision: Precision) -> AbstractContextManager[object]:
    """A context in which convolutions compute in ``precision``; weights stay float32.

    float32 changes nothing. bfloat16 pays on GPUs and on CPUs that have AMX. What a network
    returns inside may be of that format; what is kept is made float32 again.
    """
    if precision == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=getattr(torch, precision))
