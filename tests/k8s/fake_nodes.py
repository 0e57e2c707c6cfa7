"""Fake nodes of Ray's own provider that may take long to start; knows no manifest."""

import functools
import itertools
import time
from typing import Any

from ray._private import parameter, services
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider

# Ray gives a node 30 s to appear, which a busy machine does not keep.
PATIENCE_SECONDS = 240.0
# Of the agents of one node. A raylet waits for ports that they choose themselves for 15 s, whatever
# is set, and dies; for those that it is given it does not wait.
AGENT_PORTS = (
    "dashboard_agent_listen_port",
    "metrics_agent_port",
    "metrics_export_port",
    "runtime_env_agent_port",
)
# Of the namespace, which has no other programs; below those that the kernel chooses.
_FIRST_PORT = 21000


def patient(get_node: Any, *arguments: Any, **named: Any) -> Any:
    """A node that Ray asks for is waited for."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return get_node(*arguments, **named)
        except RuntimeError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)


class PatientNodes(FakeMultiNodeProvider):  # type: ignore[misc]
    """The provider, with patience; one in its process, the autoscaler's."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        services.get_node = functools.partial(patient, services.get_node)
        ports = itertools.count(_FIRST_PORT)
        make = parameter.RayParams

        def with_ports(**named: Any) -> parameter.RayParams:
            return make(**named | {name: next(ports) for name in AGENT_PORTS})

        parameter.RayParams = with_ports
