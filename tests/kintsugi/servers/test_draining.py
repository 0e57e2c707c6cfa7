"""What is deployed to stop a service, and who has not read its answer."""

import socket
import time
from pathlib import Path

import pytest
import yaml

from kintsugi.deploy.settings import IngressState
from kintsugi.servers.draining import stopping, unread
from kintsugi.servers.service import service_config

ROOT = Path(__file__).parents[3]


def test_only_the_state_of_the_ingress_differs() -> None:
    config = service_config(release="r", port=8123, jobs="")
    before = yaml.safe_dump(config)
    stopped = stopping(config)
    assert yaml.safe_dump(config) == before
    (ingress,) = [
        each for each in stopped["applications"][0]["deployments"] if each["name"] == "Ingress"
    ]
    assert IngressState.model_validate(ingress.pop("user_config")).stopping
    # Else Serve would start it again, and drop what it has begun.
    assert yaml.safe_dump(stopped) == before


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="this system lists no connections")
def test_an_answer_that_is_not_read_is_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            there, _ = server.accept()
            with there:
                assert unread(port) == 0
                there.setblocking(False)
                sent = 0
                try:
                    while True:
                        sent += there.send(bytes(2**16))
                except BlockingIOError:
                    pass
                assert unread(port) == 1
                # Whom it waits for is not itself somebody who has not read.
                assert unread(client.getsockname()[1]) == 0
                while sent:
                    sent -= len(client.recv(2**16))
                give_up = time.monotonic() + 120
                while unread(port) and time.monotonic() < give_up:
                    time.sleep(0.01)
                assert unread(port) == 0
