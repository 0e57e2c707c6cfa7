"""How real the fills of many photographs look, judged inside their holes: no files, no methods.

Likeness (`kintsugi.evaluation.metrics`) asks whether a fill is what was there and prefers the mean
of all that might be. Realism asks whether it could have been there. Fills are compared with the
originals as populations of feature cells of VGG19 that lie wholly inside the holes (the idea of
single-image FID: Shaham et al. 2019, SinGAN; here pooled over photographs), and by two things an
eye finds at once: a step along the hole's outline and detail that is missing or too much.

Each photograph can be sampled on its own, on any machine (`HoleSampler`); the samples are put
together by `kintsugi.evaluation.realism.pooling`. `measure_realism` does both.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kintsugi.evaluation.realism.cells import (
    CELLS_PER_PHOTO,
    CellEncoder,
    as_bytes,
    sample_fill,
    sample_original,
)
from kintsugi.evaluation.realism.pixels import laplacian_energy, outline_step
from kintsugi.evaluation.realism.pooling import CellSample, Realism, pool_realism
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.pixels import image_to_tensor, mask_to_tensor

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


class HoleSampler:
    """Samples one photograph after another as bytes that can be sent and kept.

    Its draws are decided by the seed and the key alone. Images are uint8 H W 3 RGB, masks bool
    H W with True = hole.
    """

    def __init__(self, encoder: Vgg19Relu3, seed: int = 0) -> None:
        self._encoder, self._seed = CellEncoder(encoder), seed

    def to(self, device: torch.device | str) -> None:
        """Move the encoder."""
        self._encoder.to(device)

    def original(self, truth: Pixels, mask: Mask, key: str) -> tuple[dict[str, bytes], ...]:
        """Both draws of the original's cells: layer -> float16 n x channels."""
        pair = image_to_tensor(truth), mask_to_tensor(mask)
        first, second = sample_original(*pair, self._encoder, key=f"{self._seed}/{key}")
        return as_bytes(first), as_bytes(second)

    def fill(self, truth: Pixels, answer: Pixels, mask: Mask, key: str) -> dict[str, bytes]:
        """The fill's cells at the places of the second draw."""
        three = image_to_tensor(truth), image_to_tensor(answer), mask_to_tensor(mask)
        return as_bytes(sample_fill(*three, self._encoder, key=f"{self._seed}/{key}"))


def hole_figures(truth: Pixels, answer: Pixels, mask: Mask) -> dict[str, float]:
    """``outline_step`` and ``laplacian`` of one fill: see `kintsugi.evaluation.realism.pixels`."""
    three = image_to_tensor(truth), image_to_tensor(answer), mask_to_tensor(mask)
    return {"outline_step": outline_step(*three), "laplacian": laplacian_energy(*three)}


def measure_realism(
    originals: Sequence[Tensor],
    fills: Sequence[Tensor],
    masks: Sequence[Tensor],
    encoder: Vgg19Relu3 | CellEncoder,
    *,
    ids: Sequence[str] | None = None,
    seed: int = 0,
    cells: int = CELLS_PER_PHOTO,
) -> Realism:
    """Judge one method's fills of many photographs.

    Args:
        originals, fills: Each B 3 H W, RGB 0-1; sizes may differ from entry to entry. Only
            what a fill has in the hole counts.
        masks: Each B 1 H W, 1 = hole (0.5 and more).
        encoder: Whose cells are compared.
        ids: A name for each photograph in order, B of them for each entry; it and the seed
            decide which cells are drawn. None numbers them.
        seed: Decides cells and bootstrap: the same figures every time.
        cells: Drawn from each photograph; as many as a small hole has.

    Raises: ValueError when the lists do not fit together, or a mask has no hole.
    """
    seen = encoder if isinstance(encoder, CellEncoder) else CellEncoder(encoder)
    triples = list(_photographs(originals, fills, masks))
    names = list(ids) if ids is not None else [str(number) for number in range(len(triples))]
    if len(names) != len(triples):
        raise ValueError(f"{len(names)} ids for {len(triples)} photographs: give one for each")
    samples = []
    for name, (original, fill, mask) in zip(names, triples, strict=True):
        first, second = sample_original(original, mask, seen, key=f"{seed}/{name}", cells=cells)
        drawn = sample_fill(original, fill, mask, seen, key=f"{seed}/{name}", cells=cells)
        step, laplacian = outline_step(original, fill, mask), laplacian_energy(original, fill, mask)
        samples.append(CellSample(name, first, second, drawn, step, laplacian))
    return pool_realism(samples, seed=seed)


def _photographs(
    originals: Sequence[Tensor], fills: Sequence[Tensor], masks: Sequence[Tensor]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """One photograph at a time. Raises: ValueError: the lists or shapes do not fit together."""
    if not len(originals) == len(fills) == len(masks):
        raise ValueError(
            f"{len(originals)} originals, {len(fills)} fills and {len(masks)} masks: give as many"
        )
    for original, fill, mask in zip(originals, fills, masks, strict=True):
        wanted = (original.shape[0], 1, *original.shape[2:])
        if fill.shape != original.shape or tuple(mask.shape) != wanted:
            raise ValueError(
                f"original {tuple(original.shape)}, fill {tuple(fill.shape)} and mask"
                f" {tuple(mask.shape)} do not fit: B 3 H W twice and B 1 H W"
            )
        for index in range(len(original)):
            one = slice(index, index + 1)
            yield original[one].float(), fill[one].float(), mask[one]
