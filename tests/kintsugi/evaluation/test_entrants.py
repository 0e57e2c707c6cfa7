"""What takes part in an evaluation: releases, results of others, and what decides an answer."""

from pathlib import Path

import numpy as np
import pytest

from kintsugi.errors import ConfigError, InvalidInput
from kintsugi.evaluation import entrants
from kintsugi.evaluation.entrants import (
    Case,
    code_digest,
    open_classical,
    open_our_release,
    open_patch_synthesis,
    open_results,
)
from kintsugi.evaluation.method_names import CLASSICAL_NAMES, PEER_NAMES, split_label
from kintsugi.imaging.codec import encode_image
from kintsugi.inference.methods import CLASSICAL
from kintsugi.inference.peers import PEERS
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.matching import MatchingConfig
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import ReleaseConfig, save_release

MASK = np.zeros((64, 64), np.bool_)
MASK[20:40, 20:40] = True
CASE = Case("a/b.jpg", "center-20-64", np.zeros((64, 64, 3), np.uint8), MASK)


def picture(level: int, side: int = 64) -> bytes:
    return encode_image(np.full((side, side, 3), level, np.uint8))


def test_a_folder_of_results_is_found_by_mask_set_and_stem(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").write_bytes(picture(1))
    assert open_results(str(tmp_path), ["center-20-64"]).fill(CASE).max() == 1
    (tmp_path / "center-20-64" / "a").mkdir(parents=True)
    (tmp_path / "center-20-64" / "a" / "b.webp").write_bytes(picture(2))
    results = open_results(str(tmp_path), ["center-20-64"])
    # The mask set's own comes first.
    assert results.fill(CASE).max() == 2
    assert (results.identity, results.is_timed) == ("", False)


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"c.png": picture(0)}, "result_missing"),
        ({"a/b.png": picture(0), "a/b.tif": picture(0)}, "result_missing"),
        ({"a/b.png": picture(0, 60)}, "result_size"),
        ({"a/b.png": b"\x89PNG\r\n\x1a\n cut"}, "image_undecodable"),
    ],
)
def test_a_result_that_cannot_be_used_is_reported(
    tmp_path: Path, files: dict[str, bytes], code: str
) -> None:
    (tmp_path / "a").mkdir()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InvalidInput) as caught:
        open_results(str(tmp_path), ["center-20-64"]).fill(CASE)
    assert caught.value.code == code


def test_an_empty_folder_of_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no pictures in"):
        open_results(str(tmp_path), ["center-20-64"])


def test_a_picture_of_no_set_in_particular_is_not_taken_for_one_of_several(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").write_bytes(picture(1))
    sets = ["center-20-64", "thick-64"]
    with pytest.raises(ConfigError, match=r"no pictures in center-20-64/: with several mask sets"):
        open_results(str(tmp_path), sets)
    for name in sets:
        (tmp_path / name).mkdir()
        (tmp_path / name / "c.png").write_bytes(picture(2))
    with pytest.raises(InvalidInput, match=r"no picture center-20-64/a/b\.\*: it must have one"):
        open_results(str(tmp_path), sets).fill(CASE)


@pytest.mark.slow
def test_a_release_is_known_by_weights_preferences_and_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ModelConfig("tiny", translator_input="features+pixels")
    inpainter = build_inpainter(model, Vgg19Relu3.random(0), seed=0)

    def identity(name: str, guard: int, *, pixels: bool = False) -> str:
        config = ReleaseConfig(
            name,
            model,
            "random (seed 0)",
            MatchingConfig(guard=guard, pixels=pixels),
        )
        save_release(tmp_path / name, inpainter, config, card="")
        return open_our_release(str(tmp_path / name)).entrant.identity

    first = identity("a", 0)
    assert identity("b", 0) == first, "a name changes no answer"
    assert identity("c", 1) != first
    assert identity("e", 0, pixels=True) != first
    monkeypatch.setattr(entrants, "code_digest", lambda: "other")
    assert identity("d", 0) != first


def test_the_codes_digest_is_of_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kintsugi.models.__path__", [str(tmp_path)])
    (tmp_path / "sub").mkdir()
    digests = set()
    for text in ("x = 1", "x = 2"):
        (tmp_path / "sub" / "a.py").write_text(text)
        digests.add(code_digest())
    assert len(digests) == 2


def test_identities_differ_by_what_changes_answers() -> None:
    synthesis = {
        open_patch_synthesis(Vgg19Relu3.random(encoder), seed).identity
        for encoder, seed in ((0, 0), (1, 0), (0, 1))
    }
    assert len(synthesis) == 3
    assert len({open_classical(name).identity for name in CLASSICAL} | {""}) == len(CLASSICAL) + 1
    assert "opencv" in open_classical("telea").identity


def test_identities_name_what_stands_beneath_a_method(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {
        "biharmonic": lambda: open_classical("biharmonic").identity,
        "synthesis": lambda: open_patch_synthesis(Vgg19Relu3.random(0), 0).identity,
    }
    before = {name: identity() for name, identity in kinds.items()}
    real = entrants.version
    for package in ("numpy", "scipy"):
        with monkeypatch.context() as patch:
            patch.setattr(
                entrants,
                "version",
                lambda name, other=package: "x" if name == other else real(name),
            )
            for name, identity in kinds.items():
                assert identity() != before[name], (package, name)
    monkeypatch.setattr(entrants, "_methods_digest", lambda: "other")
    for name, identity in kinds.items():
        assert identity() != before[name], name


def test_every_method_has_the_name_that_the_command_line_knows() -> None:
    assert set(CLASSICAL_NAMES) == CLASSICAL.keys()
    assert set(PEER_NAMES) == PEERS.keys()


def test_labels() -> None:
    assert split_label("telea") == ("telea", "telea")
    assert split_label("lama=folder:s3://x/a=b") == ("lama", "folder:s3://x/a=b")
    assert split_label("folder:s3://x/a=b") == ("folder:s3://x/a=b", "folder:s3://x/a=b")
