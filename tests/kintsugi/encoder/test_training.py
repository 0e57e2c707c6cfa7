"""An encoder learns from a teacher, resumes exactly, and keeps its hands off what is held out."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from kintsugi.data.splits import is_held_out
from kintsugi.encoder.crops import EncoderTraining, Photos
from kintsugi.encoder.training import (
    ENCODER_NAME,
    REPORT_NAME,
    compare_encoders,
    compared_values,
    train_encoder,
)
from kintsugi.errors import ConfigError
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.storage.storage import Storage


class Interrupted(Exception):
    """A training that is ended from outside."""


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> EncoderTraining:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(8):
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((80, 60), Image.Resampling.BICUBIC)
        image.save(folder / f"{number}.png")
    return EncoderTraining(
        str(folder), steps=4, batch_size=2, crop_px=32, held_out=0.4, checkpoint_every=2
    )


def test_a_teacher_is_its_own_equal() -> None:
    teacher = Vgg19Relu3.random(0)
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    figures = compare_encoders(teacher, teacher, [image])

    assert figures["cosine"] == pytest.approx(1, abs=1e-5)
    assert figures["error"] == 0
    assert torch.allclose(
        torch.relu(compared_values(teacher, image)[-1]), teacher(image), atol=1e-3
    )


@pytest.mark.slow
def test_it_comes_nearer_to_its_teacher(training: EncoderTraining, tmp_path: Path) -> None:
    teacher, longer = Vgg19Relu3.random(1), dataclasses.replace(training, steps=40)
    measured = Photos(training).measured()
    before = compare_encoders(Vgg19Relu3.random(training.seed), teacher, measured)

    figures = train_encoder(longer, teacher, Storage(tmp_path))

    assert figures["photographs"] == len(measured) > 0
    assert figures["error"] < 0.8 * before["error"]
    written = Vgg19Relu3.from_file(tmp_path / ENCODER_NAME)
    assert compare_encoders(written, teacher, measured)["cosine"] == pytest.approx(
        figures["cosine"]
    )
    assert json.loads((tmp_path / REPORT_NAME).read_text()) == figures


@pytest.mark.slow
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    training: EncoderTraining, tmp_path: Path
) -> None:
    teacher, longer = Vgg19Relu3.random(1), dataclasses.replace(training, steps=14)
    whole, parts = Storage(tmp_path / "whole"), Storage(tmp_path / "parts")
    train_encoder(longer, teacher, whole)

    def interrupt(row: dict[str, float]) -> None:
        raise Interrupted(row["step"])

    with pytest.raises(Interrupted, match="10"):
        train_encoder(longer, teacher, parts, report=interrupt)
    assert not parts.exists(ENCODER_NAME)
    train_encoder(longer, teacher, parts)

    one, other = (load_file(tmp_path / name / ENCODER_NAME) for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_folder_holds_one_training(training: EncoderTraining, tmp_path: Path) -> None:
    train_encoder(training, Vgg19Relu3.random(1), Storage(tmp_path))

    with pytest.raises(ConfigError, match=r"seed=0 there, 3 here; name another --output"):
        train_encoder(
            dataclasses.replace(training, seed=3), Vgg19Relu3.random(1), Storage(tmp_path)
        )


def test_crops_depend_on_the_step_alone_and_show_nothing_held_out(
    training: EncoderTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    reading = Storage.read

    def note(storage: Storage, name: str) -> bytes:
        read.append(name)
        return reading(storage, name)

    monkeypatch.setattr(Storage, "read", note)
    all_of_them = list(Photos(training).batches(0))

    from_the_third = list(Photos(training).batches(2))

    assert torch.equal(torch.stack(all_of_them[2:]), torch.stack(from_the_third))
    assert not torch.equal(all_of_them[0], all_of_them[1])
    for crops in all_of_them:
        assert crops.shape == (2, 3, 32, 32)
        assert 0 <= crops.min() < crops.max() <= 1
    assert read
    assert not any(is_held_out(name, training.held_out) for name in read)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps=0: at least 1"),
        ({"crop_px": 50}, "crop_px=50: a multiple of 4"),
        ({"held_out": 1.0}, "held_out=1.0: more than 0 and below 1"),
        ({"learning_rate": 0.0}, "learning_rate=0.0: more than 0"),
    ],
)
def test_what_cannot_be_trained_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EncoderTraining("photos", **change)  # type: ignore[arg-type]


def test_photographs_are_needed_on_both_sides(training: EncoderTraining) -> None:
    with pytest.raises(ConfigError, match=r"none of the 8 photographs .* is held out"):
        Photos(dataclasses.replace(training, held_out=0.0001))
