"""The service on a cluster of this machine is stopped in order: what it has begun is answered.

Serve's own end does not do: it stops all nodes at one time, and a fill that goes from node to node
would be left in the middle; the proxies are killed with what their clients have not read.
"""

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import yaml

from kintsugi.servers.cluster import Cluster

_SAY_SECONDS = 5.0
_POLL_SECONDS = 0.25
# Beyond the deadline of requests: until Serve has passed on that it stops, and until a slow client
# has read its answer.
_NOTICE_SECONDS, _READING_SECONDS = 20.0, 60.0
# Ending the replicas: they give back the jobs that they run.
_END_SECONDS = 60.0
_TCP_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED = "01"


def drain_service(cluster: Cluster, deployed: Path, url: str, say: Callable[[str], None]) -> None:
    """Refuse what comes, wait until what has begun is answered and read, then end the replicas.

    Args:
        cluster: Where it runs.
        deployed: What was deployed: `serve.yaml` as `deploy_service` wrote it.
        url: Where it answers.
        say: Is given what is waited for, a line each.
    """
    config = yaml.safe_load(deployed.read_text())
    (application,) = config["applications"]
    deadline = float(application["args"]["deadline_seconds"])
    try:
        _ask(cluster, "PUT", stopping(config))
        _wait_for_answers(url, deadline + _NOTICE_SECONDS, say)
        _wait_for_readers(urlsplit(url).port or 80, say)
        _ask(cluster, "DELETE")
    except (URLError, TimeoutError, ConnectionError) as error:
        say(f"stopping: the cluster does not answer ({error}); it is ended as it is")


def stopping(config: dict[str, Any]) -> dict[str, Any]:
    """The same deployments, and an Ingress that is being stopped: nothing is started for it."""
    (application,) = config["applications"]
    deployments = [
        {**each, "user_config": {"stopping": True}} if each["name"] == "Ingress" else each
        for each in application["deployments"]
    ]
    return {**config, "applications": [{**application, "deployments": deployments}]}


def _wait_for_answers(url: str, seconds: float, say: Callable[[str], None]) -> None:
    give_up, said_at, count = time.monotonic() + seconds, 0.0, None
    while time.monotonic() < give_up:
        count = _unanswered(url)
        if count == 0:
            return
        if count and time.monotonic() - said_at > _SAY_SECONDS:
            say(f"stopping: {count} requests are answered first; Ctrl-C drops them")
            said_at = time.monotonic()
        time.sleep(_POLL_SECONDS)
    say(f"stopping: not done after {seconds:.0f} s; {count or 'an unknown number of'} are dropped")


def _unanswered(url: str) -> int | None:
    """Requests inside of a service that is being stopped; None while it is not, or says nothing."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=10):  # noqa: S310
            return None
    except HTTPError as error:
        try:
            found = json.load(error)
        except json.JSONDecodeError:
            return None
        return int(found["requests"]) if found.get("stopping") else None


def _wait_for_readers(port: int, say: Callable[[str], None]) -> None:
    """Until all that was answered has left this machine."""
    give_up, said = time.monotonic() + _READING_SECONDS, False
    # Between a replica's last byte and the proxy's there is a moment in which neither is seen.
    time.sleep(2 * _POLL_SECONDS)
    while count := unread(port):
        if time.monotonic() > give_up:
            say(f"stopping: {count} answers were not read after {_READING_SECONDS:.0f} s")
            return
        if not said:
            say(f"stopping: {count} answers are on their way; Ctrl-C drops them")
            said = True
        time.sleep(_POLL_SECONDS)


def unread(port: int) -> int:
    """Connections to a port of this machine whose other side has not taken what was sent.

    0 where the system does not list them: Linux does.
    """
    found = 0
    for table in _TCP_TABLES:
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        for line in lines:
            # sl, local address, remote address, state, bytes to send:bytes to read
            _, local, _, state, queues, *_ = line.split()
            waits = int(queues.partition(":")[0], 16) > 0
            found += waits and state == _ESTABLISHED and int(local.rpartition(":")[2], 16) == port
    return found


def _ask(cluster: Cluster, method: str, body: dict[str, Any] | None = None) -> None:
    """Call the cluster's interface for Serve. Raises: URLError, TimeoutError."""
    headers = {"Content-Type": "application/json"}
    if cluster.token:
        headers["Authorization"] = f"Bearer {cluster.token}"
    request = urllib.request.Request(  # noqa: S310
        f"{cluster.dashboard}/api/serve/applications/",
        data=None if body is None else json.dumps(body).encode(),
        headers=headers,
        method=method,
    )
    with urllib.request.urlopen(request, timeout=_END_SECONDS):  # noqa: S310
        pass
