"""Callbacks of Ray Train's that a configuration names; none of them can end a run."""

import importlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

from ray.train import Checkpoint, UserCallback

from kintsugi.errors import ConfigError

logger = logging.getLogger(__name__)


def load_callbacks(names: Sequence[str]) -> list[UserCallback]:
    """What Ray's RunConfig takes, of import paths such as "package.module:Class".

    Each is called without arguments, on the driver; Ray calls its methods in the process of its
    controller, after every checkpoint and every failure.

    Raises: ConfigError: naming the path, and what it is not.
    """
    return [_Guarded(name, _made(name)) for name in names]


def _made(name: str) -> UserCallback:
    module, _, attribute = name.partition(":")
    what = f"workers.callbacks: {name!r}"
    if not module or not attribute:
        raise ConfigError(f'{what}: write it as "package.module:Class"')
    try:
        make: Callable[[], object] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{what}: {error}: it must be importable here and on the cluster's nodes"
        ) from error
    made = make()
    if not isinstance(made, UserCallback):
        raise ConfigError(
            f"{what} makes a {type(made).__name__}: it must be a ray.train.UserCallback"
        )
    return made


class _Guarded(UserCallback):  # type: ignore[misc]
    """Ray ends a run whose callback raises; of this one it hears nothing."""

    def __init__(self, name: str, callback: UserCallback) -> None:
        self._name = name
        self._callback = callback
        self._failed = False

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None
    ) -> None:
        """See ray.train.UserCallback."""
        self._call(self._callback.after_report, run_context, metrics, checkpoint)

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """See ray.train.UserCallback."""
        self._call(self._callback.after_exception, run_context, worker_exceptions)

    def _call(self, method: Callable[..., None], *arguments: object) -> None:
        if self._failed:
            return
        try:
            method(*arguments)
        # It is the user's, and may raise anything.
        except Exception as error:  # noqa: BLE001
            self._failed = True
            logger.warning(
                "the run goes on without the callback %s: %s: %s",
                self._name,
                type(error).__name__,
                error,
            )
