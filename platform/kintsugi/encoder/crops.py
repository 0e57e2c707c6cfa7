"""What an encoder is trained and measured on: crops of photographs in changed colours; no Ray."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from kintsugi.data.evaluation_photos import list_photos, square_crop
from kintsugi.data.splits import is_held_out
from kintsugi.errors import ConfigError
from kintsugi.imaging.codec import decode_image
from kintsugi.storage.storage import Storage

# Photographs that the deviations of the teacher's channels are measured on.
CALIBRATION_PHOTOS = 32
# Shorter sides that photographs are brought to before the crop, as multiples of the crop.
SCALES = (1.0, 3.0)
# Side of the photographs that are measured on, cut square.
MEASURED_PX = 256


@dataclass(frozen=True)
class EncoderTraining:
    """What a training of an encoder is; all of it decides the result.

    Attributes:
        photos: URI of a folder or bucket of photographs.
        steps: In all; the learning rate falls to 0 along half a cosine.
        batch_size: Crops per step, each of another photograph.
        crop_px: Side of the crops; a multiple of 4.
        learning_rate: Adam's, at the first step.
        held_out: Share of the photographs that is only measured on.
        seed: Decides initial weights, order, crops and colours.
        checkpoint_every: Steps between two checkpoints.
    """

    photos: str
    steps: int = 20_000
    batch_size: int = 8
    crop_px: int = 96
    learning_rate: float = 2e-3
    held_out: float = 0.1
    seed: int = 0
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: at least 1")
        if self.crop_px < 32 or self.crop_px % 4:
            raise ConfigError(f"crop_px={self.crop_px}: a multiple of 4, at least 32")
        if not 0 < self.held_out < 1:
            raise ConfigError(f"held_out={self.held_out}: more than 0 and below 1, for example 0.1")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"learning_rate={self.learning_rate}: more than 0")


class Photos:
    """Crops of a folder's photographs, keyed by the step, and those that are only measured on."""

    def __init__(self, training: EncoderTraining) -> None:
        self._training = training
        self._storage = Storage(training.photos)
        names = list_photos(training.photos)
        self._held_out = [name for name in names if is_held_out(name, training.held_out)]
        self._names = [name for name in names if not is_held_out(name, training.held_out)]
        for what, found in (("held out", self._held_out), ("left to train on", self._names)):
            if not found:
                raise ConfigError(
                    f"none of the {len(names)} photographs in {training.photos} is {what} at"
                    f" held_out={training.held_out}: give more photographs, or another share"
                )

    def batches(self, start: int) -> Iterator[Tensor]:
        """B 3 S S, RGB 0-1, for each step from ``start`` on; the next is read ahead."""
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self._batch, start)
            for step in range(start, self._training.steps):
                ready = coming.result()
                if step + 1 < self._training.steps:
                    coming = reader.submit(self._batch, step + 1)
                yield ready

    def calibration(self) -> list[Tensor]:
        """Photographs of the training, whole, in the middle: 1 3 S S each."""
        return [self._square(name) for name in self._names[:CALIBRATION_PHOTOS]]

    def measured(self) -> list[Tensor]:
        """Photographs held out: 1 3 S S each."""
        return [self._square(name) for name in self._held_out]

    def _square(self, name: str) -> Tensor:
        pixels = square_crop(self._read(name), MEASURED_PX)
        return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255

    def _batch(self, step: int) -> Tensor:
        size, count = self._training.batch_size, len(self._names)
        crops = []
        for number in range(step * size, (step + 1) * size):
            epoch, place = divmod(number, count)
            order = np.random.default_rng([self._training.seed, epoch]).permutation(count)
            pixels = self._read(self._names[order[place]])
            rng = np.random.default_rng([self._training.seed, epoch, place])
            crops.append(_crop(pixels, self._training.crop_px, rng))
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()

    def _read(self, name: str) -> NDArray[np.uint8]:
        return decode_image(self._storage.read(name)).pixels


def _crop(pixels: NDArray[np.uint8], side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A crop of a photograph at a random size, in other colours, in places without detail.

    Features are also taken of coarse fills, which are smooth: a third of the crops are smooth
    in a part.
    """
    image = Image.fromarray(pixels)
    shorter = side * math.exp(rng.uniform(math.log(SCALES[0]), math.log(SCALES[1])))
    scale = shorter / min(image.size)
    width, height = (max(side, round(length * scale)) for length in image.size)
    left, top = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
    box = (left / scale, top / scale, (left + side) / scale, (top + side) / scale)
    box = (box[0], box[1], min(box[2], image.width), min(box[3], image.height))
    cut = image.resize((side, side), Image.Resampling.BICUBIC, box=box)
    if rng.random() < 0.33:
        few = int(rng.integers(2, 1 + side // 8))
        smooth = cut.resize((few, few), Image.Resampling.BOX)
        x, y = np.sort(rng.integers(0, side + 1, (2, 2))).tolist()
        smooth = smooth.resize((side, side), Image.Resampling.BICUBIC)
        cut.paste(smooth.crop((x[0], y[0], x[1], y[1])), (x[0], y[0]))
    crop = np.asarray(cut).astype(np.float32) / np.float32(255)
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return _recoloured(crop, rng)


def _recoloured(crop: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Other saturation, contrast, brightness and balance of colours; 0-1."""
    grey = crop.mean(axis=2, keepdims=True)
    saturated = grey + rng.uniform(0, 1.5) * (crop - grey)
    contrast, balance = rng.uniform(0.5, 1.5), rng.uniform(0.85, 1.15, 3)
    moved = (saturated - 0.5) * contrast * balance + 0.5 + rng.uniform(-0.2, 0.2)
    recoloured: NDArray[np.float32] = np.clip(moved, 0, 1).astype(np.float32)
    return recoloured
