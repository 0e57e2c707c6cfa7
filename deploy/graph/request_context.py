"""What goes with every call of one request through the graph; knows no network."""

from dataclasses import dataclass, field

from kintsugi.deploy.engine import ModelInfo
from kintsugi.deploy.urgency import Urgency


@dataclass(frozen=True)
class Release:
    """A release and where it is, so that a node that does not hold it can load it.

    Attributes:
        uri: As `AppArgs.release`.
        model: What was found there; all that load it expect the same digest.
        searches: Whether it searches on to the pixel, which decides the walk over the scales.
        first_side: The longer side of its first scale, in pixels.
    """

    uri: str
    model: ModelInfo
    # They follow from the digest. Only the Refiner knows them: a node that compared them would
    # load its own release once more, with the first request.
    searches: bool = field(default=False, compare=False)
    first_side: int = field(default=256, compare=False)


@dataclass(frozen=True)
class RequestContext:
    """What goes with every call of one request.

    Attributes:
        release: Which answers it, from the first scale to the last, whatever the nodes hold.
        deadline: When it must be answered; see `kintsugi.deploy.deadline`.
        urgency: What waits at a node is computed in this order.
        in_progress: How many requests divide a node's threads, this one counted.
    """

    release: Release
    deadline: float
    urgency: Urgency = Urgency.SMALL
    in_progress: int = 1


class ReleaseChanged(Exception):
    """At a release's place there is another one by now."""
