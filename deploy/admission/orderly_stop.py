"""An orderly stop: what is inside is answered, what comes is refused; knows no signal, no HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager

from kintsugi.deploy.engine import Stopping


class OrderlyStop:
    """Counts the requests that are inside, and lets none in while the service is being stopped.

    Attributes:
        begun: Whether it is being stopped.
        inside: Requests that are not answered yet.
    """

    def __init__(self) -> None:
        self.begun = False
        self.inside = 0

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """One request, until it is answered. Raises: Stopping."""
        if self.begun:
            raise Stopping
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1
