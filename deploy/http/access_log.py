"""One line of the log for every answered request of the API; never images or file names.

A line's fields are the attribute `access` of its record, which Serve's JSON encoding
(`logging_config` of `deploy/serve.yaml`) writes as an object of that name.
"""

import logging
import time
from dataclasses import dataclass, field

from starlette.types import Scope

access_logger = logging.getLogger("kintsugi.access")


@dataclass
class AccessRecord:
    """What becomes known of one request while it is answered.

    Attributes:
        outcome: "ok", or the code of the problem.
        status: The HTTP status; 0 while there is no answer.
        key_name: Name of the API key, never the key; "" without one.
        megapixels: The megapixels of the photograph; None before it is decoded.
        hole_share: Part of it that is hole, 0-1; None before that, and for a transfer.
        model_version: The model version of the release that answered.
        bytes_in: Bytes of the body, as far as it was read.
        bytes_out: Bytes of the answer's body.
    """

    outcome: str = "ok"
    status: int = 0
    key_name: str = ""
    megapixels: float | None = None
    hole_share: float | None = None
    model_version: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    _started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Since the request came."""
        return time.perf_counter() - self._started

    def saw(self, height: int, width: int, hole_share: float | None = None) -> None:
        """Note the size of a decoded photograph in pixels."""
        self.megapixels = round(height * width / 1e6, 3)
        self.hole_share = hole_share

    def write(self, scope: Scope, request_id: str) -> None:
        """Log one line. A path that is no route may hold anything and is left out."""
        route = documented_route(scope)
        fields = {
            "request_id": request_id,
            "method": scope["method"],
            "route": route,
            "status": self.status,
            "code": self.outcome,
            "seconds": round(self.seconds, 4),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "megapixels": self.megapixels,
            "key": self.key_name,
            "model": self.model_version,
        }
        access_logger.info(
            "%s %s %d %s",
            scope["method"],
            route,
            self.status,
            self.outcome,
            extra={"access": fields},
        )


def documented_route(scope: Scope) -> str | None:
    """The route that answers, such as /v1/jobs/{job_id}; None for a path that is none."""
    path: str | None = getattr(scope.get("route"), "path", None)
    return path


def api_path(scope: Scope) -> str:
    """The path as the routes know it: without what Serve's `route_prefix` puts before it."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def log_access_to(logger: logging.Logger) -> None:
    """Write the access log where this logger writes, now and after it is set up again."""
    access_logger.setLevel(logging.INFO)
    access_logger.propagate = False
    # The list itself: Serve empties and fills it when its configuration changes.
    access_logger.handlers = logger.handlers
