"""A GPU that computes nothing: what would be launched on one, and what would wait for it.

Tensors have devices, types and shapes, and no numbers: whatever asks for a number is an error.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from kintsugi.config.run_config import JobConfig
from kintsugi.data.batches import Batch
from kintsugi.models.match import batched
from kintsugi.stages import end_to_end, stage2
from kintsugi.stages.base.stage import Stage

GPU = torch.device("cuda:0")
# What a look at the match would find: pairs to compare, and photographs to try all of.
FOUND = [40, 1]


class FullPrecision(TorchDispatchMode):
    """Refuses products and convolutions of half precision."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.partition("::")[2]
        if name in ("convolution", "mm", "bmm", "addmm", "baddbmm"):
            kinds = {each.dtype for each in args if isinstance(each, Tensor)}
            assert kinds <= {torch.float32, torch.float64}, f"{name} of {kinds} in the match"
        return func(*args, **(kwargs or {}))


class Looks:
    """How often the match was looked at."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, numbers: Tensor) -> list[int]:
        assert numbers.device.type == "cuda"
        self.count += 1
        return FOUND


@contextmanager
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Looks]:
    """While inside, tensors on `GPU` are fake, and backward passes give no gradients."""
    looks = Looks()
    monkeypatch.setattr(batched, "look", looks)
    # Autocast and scalers ask for a GPU that is there.
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    # The way back is PyTorch's own, and asks for one that computes.
    monkeypatch.setattr(Tensor, "backward", lambda self: None)
    for module in (stage2, end_to_end):
        for name in ("match", "keys_image"):
            monkeypatch.setattr(module, name, _in_full_precision(getattr(module, name)))
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield looks


def _in_full_precision(work: Any) -> Any:
    def watched(*args: Any, **kwargs: Any) -> Any:
        with FullPrecision():
            return work(*args, **kwargs)

    return watched


def to_gpu(stage: Stage, config: JobConfig) -> None:
    """Bring a stage there, in the layout that the configuration wants."""
    if config.compute.channels_last:
        for network in (stage.generator, stage.discriminator):
            network.to(memory_format=torch.channels_last)
    stage.to(GPU)
    for network in (stage.generator, stage.discriminator):
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)


def gpu_batch(config: JobConfig, draw: Tensor) -> Batch:
    """A batch on it; ``draw`` made outside of `fake_gpu`, as it is the host's."""
    size, side = len(draw), config.data.crop_px
    return Batch(
        torch.zeros(size, dtype=torch.int64, device=GPU),
        torch.rand(size, 3, side, side, device=GPU),
        torch.zeros(size, 1, side, side, device=GPU),
        draw,
    )
