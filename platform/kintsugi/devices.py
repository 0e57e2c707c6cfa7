"""Which device computes; knows no network."""

import torch

from kintsugi.errors import ConfigError


def check_device(name: str) -> None:
    """Refuse what cannot compute here, before anything is loaded.

    Args: ``name``: "cpu", "cuda", "cuda:1" or another of PyTorch's.

    Raises: ConfigError: PyTorch knows no such device, or this machine has no GPU for it.
    """
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise ConfigError(f"device {name!r}: choose cpu or cuda") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r}: PyTorch finds no GPU here: choose cpu")
