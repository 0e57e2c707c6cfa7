"""Metrics of learnt weights: their formulas, and that no other weights get their names."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kintsugi.errors import ConfigError
from kintsugi.evaluation import learned_metrics
from kintsugi.evaluation.learned_metrics import (
    LearnedMetrics,
    frechet_distance,
    inception_discrimination,
    open_learned_metrics,
)


@pytest.mark.parametrize("count", [6, 40], ids=["fewer than channels", "more than channels"])
def test_the_frechet_distance_by_its_formula(count: int) -> None:
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    one = rng.normal(0, 1, (count, 8)).astype(np.float32)
    other = (rng.normal(1, 2, (count + 3, 8)) @ rng.normal(0, 1, (8, 8))).astype(np.float32)
    means = [each.astype(float).mean(0) for each in (one, other)]
    first, second = (np.cov(each.astype(float).T) for each in (one, other))
    # A singular product's root is not exact there.
    shared = np.trace(sqrtm(first @ second + 1e-12 * np.eye(8))).real
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * shared
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-3)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_fills_that_differ_from_the_truth_have_nothing() -> None:
    rng = np.random.default_rng(0)
    truths = rng.normal(0, 1, (50, 4)).astype(np.float32)
    far = inception_discrimination(truths + 20, truths)
    assert far == {"u_ids": 0, "p_ids": 0}
    alike = inception_discrimination(rng.normal(0, 1, (50, 4)).astype(np.float32), truths)
    assert 0.3 < alike["u_ids"] <= 0.5
    assert 0.3 < alike["p_ids"] < 0.7


def test_without_weights_nothing_has_their_names() -> None:
    assert open_learned_metrics(None, None) is None
    metrics = LearnedMetrics(None, None)
    image = np.zeros((64, 64, 3), np.uint8)
    assert metrics.measure(image, image) == {}
    assert metrics.features(image) == b""


def test_other_files_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("torchmetrics", reason="torchmetrics is an addition of the user's")
    with pytest.raises(ConfigError, match=r"nowhere.*vgg16-397923af\.pth"):
        open_learned_metrics(tmp_path / "nowhere", None)
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match=r"other\.pth is not vgg16"):
        open_learned_metrics(tmp_path / "other.pth", None)
    with pytest.raises(ConfigError, match=r"other\.pth is not weights-inception"):
        open_learned_metrics(None, tmp_path / "other.pth")
    # What runs code when it is loaded is never loaded.
    torch.save(print, tmp_path / "code.pth")
    with pytest.raises(ConfigError, match=r"code\.pth cannot be read"):
        open_learned_metrics(None, tmp_path / "code.pth")


def test_weights_of_the_right_shape_are_not_enough(tmp_path: Path) -> None:
    pytest.importorskip("torchmetrics", reason="torchmetrics is an addition of the user's")
    from torchvision.models import vgg16

    torch.save(vgg16(weights=None).state_dict(), tmp_path / "vgg16.pth")
    with pytest.raises(ConfigError, match=r"vgg16-397923af\.pth.*: its SHA-256 is [0-9a-f]{64};"):
        open_learned_metrics(tmp_path / "vgg16.pth", None)


def test_torchmetrics_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image.lpips", None)
    with pytest.raises(ConfigError, match="torchmetrics"):
        open_learned_metrics(tmp_path / "vgg16.pth", None)


def test_lpips_on_a_backbone_of_its_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchmetrics", reason="torchmetrics is an addition of the user's")
    from torchvision.models import vgg16

    torch.manual_seed(0)
    backbone = vgg16(weights=None)
    torch.save(backbone.state_dict(), tmp_path / "vgg16.pth")
    found = hashlib.sha256((tmp_path / "vgg16.pth").read_bytes()).hexdigest()
    monkeypatch.setattr(learned_metrics, "LPIPS_SHA256", found[:8])
    metrics = open_learned_metrics(tmp_path / "vgg16.pth", None)
    assert metrics is not None
    assert metrics.weights == {"lpips": {"file": "vgg16.pth", "sha256": found}}
    rng = np.random.default_rng(0)
    image, other = rng.integers(0, 256, (2, 64, 64, 3), np.uint8)
    assert metrics.measure(image, image)["lpips"] == 0
    assert metrics.measure(image, other)["lpips"] > 0


def test_inceptions_features_are_2048(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchmetrics", reason="torchmetrics is an addition of the user's")
    network = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    torch.manual_seed(0)
    saved: list[dict[str, torch.Tensor]] = []

    def take_none(module: torch.nn.Module, state: object) -> None:
        saved.append(dict(torch.nn.Module.state_dict(module)))

    # The only way to get a network of this shape without its weights.
    with monkeypatch.context() as patch:
        patch.setattr(network, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(network.FeatureExtractorInceptionV3, "load_state_dict", take_none)
        network.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(saved[0], tmp_path / "inception.pth")
    monkeypatch.setattr(learned_metrics, "INCEPTION_SHA256", "")
    metrics = open_learned_metrics(None, tmp_path / "inception.pth")
    assert metrics is not None
    assert set(metrics.weights) == {"inception"}
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    features = np.frombuffer(metrics.features(image), np.float32)
    assert features.shape == (2048,)
    assert features.std() > 0
