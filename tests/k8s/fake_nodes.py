"""Fake nodes of Ray's own provider that may take long to start; knows no manifest."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray._private import services
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider

# Ray gives a node 30 s to appear, which a busy machine does not keep.
PATIENCE_SECONDS = 240.0


@contextmanager
def _patience() -> Iterator[None]:
    """Meanwhile a node that Ray asks for is waited for."""
    get_node = services.get_node

    def patient(*arguments: Any, **named: Any) -> Any:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return get_node(*arguments, **named)
            except RuntimeError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.2)

    services.get_node = patient
    try:
        yield
    finally:
        services.get_node = get_node


class PatientNodes(FakeMultiNodeProvider):  # type: ignore[misc]
    """The provider, with patience."""

    def create_node_with_resources_and_labels(self, *arguments: Any) -> None:
        with _patience():
            super().create_node_with_resources_and_labels(*arguments)
