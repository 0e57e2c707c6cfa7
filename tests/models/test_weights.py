"""A release folder: round trip to the bit, and what makes one unusable."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.matching import MatchingConfig
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import (
    ReleaseConfig,
    file_digest,
    load_encoder,
    load_release,
    read_release_config,
    save_release,
)
from tests.models.match.test_patch_swap import mask_of
from tests.models.plan.test_fill_plan import photo

CONFIG = ReleaseConfig(
    name="test",
    model=ModelConfig("tiny", translator_upsampling="transposed"),
    encoder="random (seed 0)",
    matching=MatchingConfig(guard=1),
    training={"stage1": {"steps": 3}},
    metrics={"hole_l1": 12.5},
)


@pytest.fixture(scope="module")
def original(encoder: Vgg19Relu3) -> Inpainter:
    return build_inpainter(CONFIG.model, encoder, seed=5, matching=CONFIG.matching)


@pytest.fixture
def release(original: Inpainter, tmp_path: Path) -> Path:
    save_release(tmp_path / "release", original, CONFIG, card="# test\n")
    return tmp_path / "release"


def edit_config(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "config.json"
    raw = json.loads(path.read_text())
    edit(raw)
    path.write_text(json.dumps(raw))


def test_round_trip_is_exact(original: Inpainter, release: Path) -> None:
    loaded, config = load_release(release)
    assert config.digest == file_digest(release / "model.safetensors")
    assert config == ReleaseConfig(**{**vars(CONFIG), "digest": config.digest})
    assert loaded.matching == CONFIG.matching
    assert not loaded.training
    states = original.state_dict(), loaded.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    image, mask = photo(64, 64), mask_of(64, 64, (20, 40, 20, 40))
    assert torch.equal(loaded.inpaint(image, mask), original.inpaint(image, mask))
    assert sorted(path.name for path in release.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_equal_weights_have_an_equal_digest(
    original: Inpainter, release: Path, tmp_path: Path
) -> None:
    again = save_release(tmp_path / "again", original, CONFIG, card="")
    assert again.digest == read_release_config(release).digest
    for other in (
        replace(CONFIG, matching=MatchingConfig(guard=2)),
        replace(CONFIG, matching=MatchingConfig(guard=1, pixels=True)),
    ):
        different = save_release(tmp_path / "other", original, other, card="")
        assert different.digest != again.digest, "the same weights fill in another way"
    assert again.digest.startswith("sha256:")


def test_every_choice_of_architecture_travels(encoder: Vgg19Relu3, tmp_path: Path) -> None:
    model = ModelConfig(
        "tiny",
        "resize",
        discriminator_norm="spectral",
        generator_input="smooth",
        generator_output="half",
        generator_dilated="both",
        translator_input="features+pixels",
    )
    matching = MatchingConfig(colour=0.25, pixels=True)
    inpainter = build_inpainter(model, encoder, seed=5, matching=matching)
    named = replace(CONFIG, model=model, matching=matching)
    save_release(tmp_path, inpainter, named, card="")
    loaded, config = load_release(tmp_path)
    assert (config.model, config.matching) == (model, matching)
    assert loaded.matching == matching
    image, mask = photo(64, 64), mask_of(64, 64, (20, 40, 20, 40))
    with torch.inference_mode():
        assert torch.equal(loaded(image, mask), inpainter(image, mask))


def test_a_release_from_before_a_choice_or_with_a_finish_is_the_papers(
    release: Path,
) -> None:
    for name in ("discriminator_norm", "generator_input"):
        edit_config(release, lambda raw, name=name: raw["model"].pop(name))
    edit_config(release, lambda raw: raw["matching"].pop("pixels"))
    _, config = load_release(release)
    assert config.model == CONFIG.model
    assert (config.model.discriminator_norm, config.model.generator_input) == ("batch", "grey")
    assert config.matching == CONFIG.matching
    assert not config.matching.pixels


def test_a_release_from_when_scales_were_finished(release: Path) -> None:
    finishing = {"shade": 0.8, "fine_shade": 1.0, "deblock": 0.03, "detail": 0.25}
    edit_config(release, lambda raw: raw.update(finishing=finishing))
    loaded, config = load_release(release)
    assert config.matching == loaded.matching == CONFIG.matching
    image, mask = photo(64, 64), mask_of(64, 64, (20, 40, 20, 40))
    assert loaded.inpaint(image, mask).isfinite().all()


def test_saving_again_replaces_the_release(
    original: Inpainter, encoder: Vgg19Relu3, release: Path
) -> None:
    other = build_inpainter(CONFIG.model, encoder, seed=6)
    save_release(release, other, CONFIG, card="")
    loaded, _ = load_release(release)
    assert torch.equal(
        loaded.feature2image.state_dict()["head.conv.weight"],
        other.feature2image.state_dict()["head.conv.weight"],
    )


def test_refuses_altered_weights(release: Path) -> None:
    path = release / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"model\.safetensors has digest sha256:.*altered"):
        load_release(release)


def test_refuses_weights_cut_short(release: Path) -> None:
    path = release / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cut short"):
        load_release(release)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_refuses_a_folder_cut_short(release: Path, missing: str) -> None:
    (release / missing).unlink()
    with pytest.raises(ValueError, match=f"holds no {missing}.*publish it again"):
        load_release(release)


def test_a_writing_cut_short_leaves_no_release(
    original: Inpainter, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_args: object, **_kwargs: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("kintsugi.models.weights.save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_release(release, original, CONFIG, card="")
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        load_release(release)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda raw: raw.update(version=2), "format version 2; this program reads 1"),
        (lambda raw: raw.pop("version"), "format version None"),
        (lambda raw: raw.pop("model"), "not a release's configuration"),
        (lambda raw: raw.update(colour="red"), "not a release's configuration.*colour"),
        (lambda raw: raw["model"].update(size="huge"), "size='huge'"),
    ],
)
def test_refuses_a_config_it_does_not_know(
    release: Path, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit_config(release, edit)
    with pytest.raises(ValueError, match=message):
        load_release(release)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[]", r"config\.json holds b'\[\]', which is no JSON object"),
        (b"null", "no JSON object"),
        (b'{"version": 1', "is not JSON: .*cut short"),
        (b"\xff\xfe\xff", "is not JSON"),
    ],
)
def test_refuses_a_config_that_is_no_object(release: Path, text: bytes, message: str) -> None:
    (release / "config.json").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        load_release(release)


@pytest.mark.parametrize("part", ["training", "model", "matching"])
def test_refuses_a_config_with_a_part_that_is_none(release: Path, part: str) -> None:
    edit_config(release, lambda raw: raw.update({part: None}))
    with pytest.raises(ValueError, match="not a release's configuration"):
        load_release(release)


def test_refuses_weights_that_are_no_safetensors_though_their_digest_is_right(
    release: Path,
) -> None:
    weights = release / "model.safetensors"
    weights.write_bytes(b"no tensors")
    edit_config(release, lambda raw: raw.update(digest=file_digest(weights)))
    with pytest.raises(ValueError, match="is no safetensors file"):
        load_release(release)


def test_a_release_from_before_the_initial_fill_had_its_name(
    encoder: Vgg19Relu3, tmp_path: Path
) -> None:
    model = ModelConfig("tiny", generator_input="predicted")
    inpainter = build_inpainter(model, encoder, seed=5)
    config = replace(CONFIG, model=model, matching=MatchingConfig(), training={"initial_fill": 7})
    save_release(tmp_path, inpainter, config, card="# test\n")
    path = tmp_path / "model.safetensors"
    old = {name.replace("initial_fill.", "first_fill."): v for name, v in load_file(path).items()}
    assert old.keys() != load_file(path).keys()
    save_file(old, path)
    edit_config(
        tmp_path,
        lambda raw: raw.update(digest=file_digest(path), training={"first_fill": 7, "note": 1}),
    )
    loaded, found = load_release(tmp_path)
    assert found.training == {"initial_fill": 7, "note": 1}
    expected = inpainter.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


def test_a_release_from_when_copies_could_be_limited(release: Path) -> None:
    edit_config(release, lambda raw: raw["matching"].update(max_uses=None))
    assert load_release(release)[1].matching == CONFIG.matching
    edit_config(release, lambda raw: raw["matching"].update(max_uses=4))
    with pytest.raises(ValueError, match=r"matching\.max_uses=4.*publish the release again"):
        load_release(release)


def test_refuses_weights_of_another_architecture(release: Path) -> None:
    path = release / "model.safetensors"
    state = load_file(path)
    state["feature2image.head.conv.bias"] = torch.zeros(4)
    save_file(state, path)
    edit_config(release, lambda raw: raw.update(digest=file_digest(path)))
    with pytest.raises(ValueError, match=r"does not fit this architecture(.|\n)*head\.conv\.bias"):
        load_release(release)


def test_encoders_by_name_file_and_release(
    encoder: Vgg19Relu3, release: Path, tmp_path: Path
) -> None:
    save_file(encoder.state_dict(), tmp_path / "vgg.safetensors")
    expected = encoder.features[10].weight
    for source in ("random", str(tmp_path / "vgg.safetensors"), str(release)):
        assert torch.equal(load_encoder(source).features[10].weight, expected)
    assert not torch.equal(load_encoder("random", seed=1).features[10].weight, expected)
    with pytest.raises(ValueError, match="encoder='nowhere' is no file and no release"):
        load_encoder("nowhere")
