"""Fill holes in photographs: `from kintsugi import Inpainter`.

Importing this package imports and does nothing; what is used is loaded when it is first named.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kintsugi.facade import Inpainter

__all__ = ["Inpainter"]


def __getattr__(name: str) -> object:
    if name == "Inpainter":
        # Read when PyTorch is loaded, which is now: a thread that waits for another spins briefly
        # and then gives its core away, as in every process of ours (`kintsugi.defaults`).
        import os

        from kintsugi.defaults import THREADS

        for variable, value in THREADS.items():
            os.environ.setdefault(variable, value)
        from kintsugi.facade import Inpainter

        return Inpainter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
