"""From names to figures: what is opened, and that two runs differ in their times alone."""

import json
from pathlib import Path

import numpy as np
import pytest

from kintsugi.data.mask_shards import write_mask_set
from kintsugi.data.splits import is_held_out
from kintsugi.errors import ConfigError, InvalidInput, StorageError
from kintsugi.evaluation.comparison import (
    ProgressLines,
    compare,
    is_complete,
    open_comparison,
    write_report,
)
from kintsugi.evaluation.entrants import Computed
from kintsugi.evaluation.evaluate import CaseResult, PhotoResult
from kintsugi.evaluation.report import format_markdown
from kintsugi.evaluation.request import EvaluationRequest
from kintsugi.imaging.codec import encode_image
from kintsugi.inference.methods import CoarseFill
from kintsugi.masks.sets import parse_mask_set
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import ReleaseConfig, save_release
from kintsugi.storage.storage import Storage

pytestmark = pytest.mark.usefixtures("no_ray")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, (10, 15, 3), np.uint8)
        whole = pixels.repeat(8, axis=0).repeat(8, axis=1)
        (folder / f"photo-{seed}.png").write_bytes(encode_image(whole))
    (folder / "notes.txt").write_text("not a photograph")
    return folder


@pytest.fixture
def release(tmp_path: Path) -> str:
    inpainter = build_inpainter(ModelConfig("tiny"), Vgg19Relu3.random(0), seed=0)
    config = ReleaseConfig("tiny", ModelConfig("tiny"), "random (seed 0)")
    save_release(tmp_path / "release", inpainter, config, card="")
    return str(tmp_path / "release")


@pytest.mark.slow
def test_two_runs_differ_in_their_times_alone(photos: Path) -> None:
    def figures() -> str:
        request = EvaluationRequest(
            ["telea", "ns", "biharmonic", "patchmatch"],
            ["random-64", "border-64"],
            encoder="random",
        )
        _, found = compare(str(photos), *open_comparison(request))
        for row in found.pop("times"):
            assert row["seconds"]["median"] > 0
        return json.dumps(found)

    first = figures()
    assert first == figures()
    found = json.loads(first)
    assert found["vgg_encoder"] == "random (seed 0)"
    assert found["photographs"] == 3
    assert [(row["masks"], row["method"]) for row in found["figures"]] == [
        (masks, method)
        for masks in ("random-64", "border-64")
        for method in ("telea", "ns", "biharmonic", "patchmatch")
    ]


@pytest.mark.slow
def test_releases_folders_and_labels(photos: Path, release: str, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    for name in ("photo-0.png", "photo-1.png"):
        (results / name).write_bytes(encode_image(np.zeros((64, 64, 3), np.uint8)))
    methods = [f"mine={release}", f"again=release:{release}", "ours", f"black=folder:{results}"]
    methods[0] = f"mine=release:{release}"
    comparison, provenance = open_comparison(
        EvaluationRequest(methods, ["center-32-64"], release=release)
    )
    assert list(comparison.entrants) == ["mine", "again", "ours", "black"]
    assert provenance.vgg_encoder == "random (seed 0)"
    assert set(provenance.releases) == {"mine", "again", "ours"}
    assert provenance.releases["ours"]["digest"].startswith("sha256:")
    seen: list[tuple[str, int, int]] = []
    _, figures = compare(
        str(photos),
        comparison,
        provenance,
        report=lambda result, done, total: seen.append((result.id, done, total)),
    )
    assert seen[-1] == ("photo-2.png", 3, 3)
    mine, again, ours, black = figures["figures"]
    assert mine["metrics"] == again["metrics"] == ours["metrics"]
    assert black["photographs"] == 2
    assert list(black["problems"]) == ["photo-2.png"]
    assert not is_complete(figures)


def test_g1_alone_takes_part_next_to_the_whole_release(release: str) -> None:
    request = EvaluationRequest(
        ["ours", "coarse", f"g1=coarse:{release}"], ["center-32-64"], release=release
    )
    comparison, provenance = open_comparison(request)
    whole, coarse, named = comparison.entrants.values()
    assert whole.identity != coarse.identity == named.identity
    assert provenance.releases["ours"] == provenance.releases["coarse"] == provenance.releases["g1"]
    assert isinstance(named, Computed)
    assert isinstance(named.method, CoarseFill)


def test_an_encoder_can_be_named_apart_from_the_release(release: str) -> None:
    def encoder_of(**how: object) -> str:
        return open_comparison(EvaluationRequest(["telea"], ["center-32-64"], **how))[1].vgg_encoder

    assert encoder_of() == ""
    assert encoder_of(release=release) == "random (seed 0)"
    assert encoder_of(release=release, encoder="random", seed=5) == "random (seed 5)"


def test_patch_synthesis_needs_an_encoder() -> None:
    with pytest.raises(ConfigError, match="needs an encoder: name --encoder"):
        open_comparison(EvaluationRequest(["patch-synthesis"], ["center-32-64"]))
    comparison, _ = open_comparison(
        EvaluationRequest(["patch-synthesis"], ["center-32-64"], encoder="random")
    )
    assert "patch-synthesis" in comparison.entrants["patch-synthesis"].identity


def test_a_written_set_stands_in_the_place_of_its_name(photos: Path, tmp_path: Path) -> None:
    masks = parse_mask_set("thick-64", seed=7)
    ids = [f"photo-{i}.png" for i in range(3)]
    manifest = write_mask_set(masks, ids, Storage(tmp_path / "masks"))
    there, here = (
        compare(str(photos), *open_comparison(EvaluationRequest(["telea"], [name], seed=seed)))[1]
        for name, seed in ((str(tmp_path / "masks"), 3), ("thick-64", 7))
    )
    means = [
        {name: each["mean"] for name, each in found["figures"][0]["metrics"].items()}
        for found in (there, here)
    ]
    assert means[0] == means[1]
    # What is reported of the masks is what was read, not what was asked for.
    drawn = {"kind": "thick", "side_px": 64, "seed": 7}
    assert here["masks"] == {"thick-64": drawn}
    uri, digest = str(tmp_path / "masks"), manifest.masks_sha256
    assert there["masks"] == {"thick-64": {**drawn, "uri": uri, "masks_sha256": digest}}
    assert f"Masks thick-64: `{uri}`, seed 7." in format_markdown(there)
    assert "Masks" not in format_markdown(here)


def test_two_photographs_of_one_stem_have_no_folder_of_results(photos: Path) -> None:
    (photos / "photo-1.webp").write_bytes((photos / "photo-1.png").read_bytes())
    request = EvaluationRequest(["telea", f"again=folder:{photos}"], ["center-32-64"])
    with pytest.raises(ConfigError, match=r"photo-1\.png and photo-1\.webp would have one"):
        compare(str(photos), *open_comparison(request))
    compare(str(photos), *open_comparison(EvaluationRequest(["telea"], ["center-32-64"])))


def test_limit_held_out_and_rejects(photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 cut")
    opened = open_comparison(EvaluationRequest(["telea"], ["center-32-64"]))
    _, figures = compare(str(photos), *opened, limit=2)
    assert list(figures["rejects"]) == ["broken.jpg"]
    assert figures["photographs"] == 1
    with pytest.raises(InvalidInput, match=r"none of the 1 photographs.*broken\.jpg"):
        compare(str(photos), *opened, limit=1)
    (photos / "broken.jpg").unlink()
    _, figures = compare(str(photos), *opened, held_out=0.7)
    kept_out = [i for i in range(3) if is_held_out(f"photo-{i}.png", 0.7)]
    assert figures["photographs"] == len(kept_out)
    assert figures["held_out_share"] == 0.7


def test_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    for methods, masks, message in (
        (["magic"], ["random-64"], "method 'magic' is not known: use one of ours, coarse, telea"),
        (["telea", "telea"], ["random-64"], "'telea' is given twice"),
        (["telea"], ["random-64", "random-64"], "mask set 'random-64' is given twice"),
        (["telea"], ["fog-64"], "'fog' is not known"),
    ):
        with pytest.raises(ConfigError, match=message):
            open_comparison(EvaluationRequest(methods, masks))
    with pytest.raises(StorageError, match="nowhere"):
        open_comparison(
            EvaluationRequest(["ours"], ["random-64"], release=str(tmp_path / "nowhere"))
        )


def test_the_report(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    results, figures = compare(
        str(photos), *open_comparison(EvaluationRequest(["telea"], ["center-32-64"]))
    )
    write_report(str(output), results, figures)
    assert json.loads((output / "results.json").read_text()) == figures
    assert len((output / "cases.jsonl").read_text().splitlines()) == 3
    assert (output / "results.md").read_text().startswith("# Evaluation")
    assert (output / "grid.png").read_bytes().startswith(b"\x89PNG")
    assert f"wrote {output}/results.json" in capsys.readouterr().out


def test_progress_reports_troubles_at_once_and_the_rest_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = ProgressLines()
    for number in range(1, 5):
        progress(PhotoResult(f"{number}.png"), number, 5)
    missing = CaseResult("thick-64", "lama", 0.2, {}, problem="no picture")
    progress(PhotoResult("x.png", (missing,)), 5, 5)
    assert capsys.readouterr().out.splitlines() == [
        "1 of 5: 1.png",
        "x.png: lama: no picture",
        "5 of 5: x.png",
    ]
