"""The same evaluation as a Ray Data job: results in order, errors as they were."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kintsugi.errors import StorageError
from kintsugi.evaluation.entrants import Case, Computed, Entrant
from kintsugi.evaluation.evaluate import Comparison, EvaluationPhoto, evaluate, evaluate_photo
from kintsugi.evaluation.fill_cache import FillCache, TimedFill
from kintsugi.evaluation.metrics import VggDistance
from kintsugi.evaluation.realism.cells import from_bytes
from kintsugi.evaluation.realism.realism import HoleSampler
from kintsugi.imaging.codec import encode_image
from kintsugi.inference.methods import CLASSICAL, ReleaseMethod
from kintsugi.masks.sets import parse_mask_set
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.storage.storage import Storage

MASKS = [parse_mask_set("thick-64")]


@pytest.fixture(scope="module")
def photos() -> list[EvaluationPhoto]:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 70, 90, 3), np.uint8)
    return [EvaluationPhoto(str(i), encode_image(each), i == 0) for i, each in enumerate(pixels)]


@pytest.mark.ray
def test_an_evaluation_in_ray_is_the_same(
    local_ray: object, photos: list[EvaluationPhoto], tmp_path: Path
) -> None:
    encoder = Vgg19Relu3.random(0)
    ours = ReleaseMethod(build_inpainter(ModelConfig("tiny"), encoder, seed=0))
    entrants: dict[str, Entrant] = {
        "ours": Computed(ours, "ours"),
        **{name: Computed(method, name) for name, method in CLASSICAL.items()},
    }
    cache = FillCache(Storage(tmp_path / "fills"))
    judges = {"vgg": VggDistance(encoder), "sampler": HoleSampler(encoder)}
    comparison = Comparison(entrants, MASKS, cache=cache, **judges)
    (tmp_path / "read.png").write_bytes(photos[0].read())
    given = [
        *photos,
        EvaluationPhoto("bad", b"no image"),
        EvaluationPhoto("read.png", Storage(tmp_path)),
    ]
    there = list(evaluate(given, comparison))
    assert [result.id for result in there] == ["0", "1", "2", "bad", "read.png"]
    assert there[3].reject
    for photo, result in zip(photos, there, strict=False):
        here = evaluate_photo(Comparison(entrants, MASKS, **judges), photo)
        for row, expected in zip(result.filled, here.filled, strict=True):
            # On another number of threads sums come out in another order.
            assert row.figures == pytest.approx(expected.figures, rel=1e-3)
            for name, cells in from_bytes(row.cells).items():
                wanted = from_bytes(expected.cells)[name]
                assert cells == pytest.approx(wanted, rel=1e-2, abs=1e-2)
        assert result.cells.keys() == here.cells.keys() == {"thick-64"}
        assert {k: list(v) for k, v in result.pictures.items()} == {
            k: list(v) for k, v in here.pictures.items()
        }
    # What the workers kept is found from here, with as many threads, and needs no work again.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert all(row.kept for row in evaluate_photo(comparison, photos[1]).filled)
    finally:
        torch.set_num_threads(threads)


class FullCache(FillCache):
    """A place that takes nothing any more."""

    def keep(self, case: Case, identity: str, fill: TimedFill) -> None:
        raise StorageError("no space left: free some")


@pytest.mark.ray
def test_errors_of_workers_come_as_they_were(
    local_ray: object, photos: list[EvaluationPhoto], tmp_path: Path
) -> None:
    telea: dict[str, Entrant] = {"telea": Computed(CLASSICAL["telea"], "telea")}
    comparison = Comparison(telea, MASKS, cache=FullCache(Storage(tmp_path)))
    with pytest.raises(StorageError, match=r"^no space left: free some$"):
        list(evaluate(photos, comparison))
