"""A device that is not here is refused in words, and not by PyTorch's trace."""

import pytest
import torch

from kintsugi.devices import check_device
from kintsugi.errors import ConfigError


def test_a_device_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_device("cpu")
    with pytest.raises(ConfigError, match="device 'gpu': choose cpu or cuda"):
        check_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:1"):
        with pytest.raises(ConfigError, match=f"device '{name}': PyTorch finds no GPU here"):
            check_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_device("cuda")
