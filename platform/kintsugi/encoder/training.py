"""An encoder of our own: VGG19's layers to relu3_1, taught by a teacher's; knows no Ray.

The student has the teacher's layers and begins with random weights. It learns the teacher's
values before each of three ReLUs (conv1_2, conv2_2, conv3_1). Each channel is divided by its own
standard deviation: the match compares all channels, so weak ones must count as much as strong
ones. Photographs come as they are in their folder; those that are held out only measure.
"""

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from kintsugi.encoder.crops import EncoderTraining, Photos
from kintsugi.errors import ConfigError
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.runs.checkpoints import CheckpointStore, TrainState, save_checkpoint
from kintsugi.storage.scratch import scratch_folder
from kintsugi.storage.storage import Storage

ENCODER_NAME = "encoder.safetensors"
REPORT_NAME = "report.json"
# Convolutions whose values are compared, by their place in `Vgg19Relu3.features`, and how much
# each counts: the last is what is used, the others show it the way.
COMPARED = {2: 0.3, 7: 0.3, 10: 1.0}
_LEAST_DEVIATION = 1e-3

Report = Callable[[dict[str, float]], None]


def train_encoder(
    training: EncoderTraining,
    teacher: Vgg19Relu3,
    output: Storage,
    *,
    device: torch.device | str = "cpu",
    report: Report = lambda _: None,
) -> dict[str, Any]:
    """Train an encoder, from its newest whole checkpoint on where there is one.

    Args:
        training: What is trained.
        teacher: Whose features are learnt.
        output: Folder that gets `checkpoints/` on the way, `encoder.safetensors` (VGG19's names)
            and `report.json` at the end.
        device: On which both compute.
        report: Gets step and loss every tenth step.

    Returns: the report: how near the student's features are on photographs held out.

    Raises:
        ConfigError: the folder holds another training, or no photograph is held out.
        StorageError: storage fails.
    """
    _claim(training, output)
    photos = Photos(training)
    student = Vgg19Relu3.random(training.seed).requires_grad_(True)
    for network in (student, teacher):
        network.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(student.parameters(), training.learning_rate)
    state = TrainState({"encoder": student}, {"encoder": optimizer})
    store = CheckpointStore(output.join("checkpoints"))
    if newest := store.newest_whole():
        store.restore(state, newest)
    deviations = _deviations(teacher, photos.calibration(), device)
    for crops in photos.batches(state.step):
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate * _cosine(state.step / training.steps)
        loss = _loss(student, teacher, crops.to(device), deviations)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        state.step += 1
        if state.step % 10 == 0:
            report({"step": state.step, "loss": loss.item()})
        if state.step % training.checkpoint_every == 0 or state.step == training.steps:
            _publish(store, state)
    figures = asdict(training) | compare_encoders(student, teacher, photos.measured(), device)
    _finish(output, student, figures)
    return figures


def _claim(training: EncoderTraining, output: Storage) -> None:
    """Make the folder this training's, or see that it is."""
    name, ours = "training.json", asdict(training)
    if not output.exists(name):
        output.write(name, json.dumps(ours, indent=2).encode())
        return
    theirs = json.loads(output.read(name))
    differing = [key for key in ours if ours[key] != theirs.get(key)]
    if differing:
        said = ", ".join(
            f"{key}={theirs.get(key)!r} there, {ours[key]!r} here" for key in differing
        )
        raise ConfigError(f"{output.uri} holds another training: {said}; name another --output")


def _publish(store: CheckpointStore, state: TrainState) -> None:
    with scratch_folder("a checkpoint") as folder:
        save_checkpoint(folder, state)
        store.publish(folder, state.step)
    store.prune(2, state.step)


def _finish(output: Storage, student: Vgg19Relu3, figures: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / ENCODER_NAME
        weights = student.state_dict().items()
        save_file({name: value.cpu().contiguous() for name, value in weights}, file)
        output.write(ENCODER_NAME, file.read_bytes())
    output.write(REPORT_NAME, (json.dumps(figures, indent=2) + "\n").encode())


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))


def compared_values(encoder: Vgg19Relu3, image: Tensor) -> list[Tensor]:
    """What the compared convolutions give, before their ReLUs: B C h w each."""
    values = []
    x = (image - encoder.mean) / encoder.std
    for place, layer in enumerate(encoder.features):
        x = F.relu(x) if isinstance(layer, nn.ReLU) else layer(x)
        if place in COMPARED:
            values.append(x)
        if place == max(COMPARED):
            break
    return values


@torch.no_grad()
def _deviations(
    teacher: Vgg19Relu3, photos: Sequence[Tensor], device: torch.device | str
) -> list[Tensor]:
    """Deviations of the teacher's compared channels, over photographs: 1 C 1 1 each."""
    values = [compared_values(teacher, photo.to(device)) for photo in photos]
    return [
        torch.stack([value.var(dim=(0, 2, 3), keepdim=True) for value in layer])
        .mean(0)
        .sqrt()
        .clamp(min=_LEAST_DEVIATION)
        for layer in zip(*values, strict=True)
    ]


def _loss(
    student: Vgg19Relu3, teacher: Vgg19Relu3, image: Tensor, deviations: Sequence[Tensor]
) -> Tensor:
    with torch.no_grad():
        wanted = compared_values(teacher, image)
    given = compared_values(student, image)
    return torch.stack(
        [
            weight * ((ours - theirs) / deviation).square().mean()
            for weight, ours, theirs, deviation in zip(
                COMPARED.values(), given, wanted, deviations, strict=True
            )
        ]
    ).sum()


@torch.no_grad()
def compare_encoders(
    student: Vgg19Relu3,
    teacher: Vgg19Relu3,
    photos: Sequence[Tensor],
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """How near a student's relu3_1 is to its teacher's.

    Args:
        student: Measured.
        teacher: With what.
        photos: 1 3 H W each, RGB 0-1.
        device: On which both are.

    Returns:
        `photographs`; `cosine`: mean over all cells of the cosine of both feature vectors (1 is
        equal); `error`: mean over channels of the squared difference by the channel's variance
        (0 is equal, 1 is no better than its mean); `worst_channels`: the five with the largest.
    """
    cosines, squares, spreads = [], [], []
    for photo in photos:
        ours, theirs = student(photo.to(device)), teacher(photo.to(device))
        cosines.append(F.cosine_similarity(ours, theirs, dim=1).mean())
        squares.append((ours - theirs).square().mean(dim=(0, 2, 3)))
        spreads.append(theirs.var(dim=(0, 2, 3)))
    spread = torch.stack(spreads).mean(0).clamp(min=_LEAST_DEVIATION**2)
    errors = torch.stack(squares).mean(0) / spread
    worst = errors.argsort(descending=True)[:5].tolist()
    return {
        "photographs": len(photos),
        "cosine": float(torch.stack(cosines).mean()),
        "error": float(errors.mean()),
        "worst_channels": {str(channel): float(errors[channel]) for channel in worst},
    }
