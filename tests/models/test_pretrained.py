"""The release that comes with the repository: whole, small, nobody's home, and of use."""

import json
from pathlib import Path

import pytest
import torch

from kintsugi import models
from kintsugi.models.weights import CARD_NAME, CONFIG_NAME, WEIGHTS_NAME, load_release

SMALL = Path(models.__path__[0]) / "pretrained" / "small"


@pytest.mark.slow
def test_it_is_whole_and_small() -> None:
    inpainter, config = load_release(SMALL)
    assert (config.name, config.model.size) == ("small", "small")
    assert (SMALL / WEIGHTS_NAME).stat().st_size <= 64e6
    assert all(torch.isfinite(weight).all() for weight in inpainter.state_dict().values())


@pytest.mark.parametrize("name", [CONFIG_NAME, CARD_NAME])
def test_it_names_no_place_of_whoever_trained_it(name: str) -> None:
    text = (SMALL / name).read_text()
    assert not any(place in text for place in ("/root", "/home", "/tmp", "/work", "file:"))


def test_its_card_says_what_it_was_trained_from_and_how_well_it_fills() -> None:
    card = (SMALL / CARD_NAME).read_text().lower()
    for word in ("licence", "photographs", "held out", "make release", "seed", "limits", "telea"):
        assert word in card
    assert json.loads((SMALL / CONFIG_NAME).read_text())["metrics"]
