"""The service of this machine: its port, and what differs from `deploy/serve.yaml`."""

import socket
from pathlib import Path

import pytest
import yaml

from kintsugi.errors import ConfigError
from kintsugi.servers.service import check_port, service_config

ROOT = Path(__file__).parents[3]


def test_a_port_in_use_and_no_port_are_refused() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is in use: stop"):
            check_port(port)
    check_port(port)
    for wrong in (0, -1, 99999):
        with pytest.raises(ConfigError, match=f"--port {wrong}: 1 to 65535"):
            check_port(wrong)


def test_what_differs_from_serve_yaml() -> None:
    written = yaml.safe_load((ROOT / "deploy" / "serve.yaml").read_text())
    plain = service_config(release="s3://releases/r", port=8123, jobs="")
    assert plain["http_options"] == written["http_options"] | {"port": 8123}
    args = written["applications"][0]["args"] | {"release": "s3://releases/r"}
    assert plain["applications"][0]["args"] == args
    kept = service_config(release="s3://releases/r", port=8123, jobs="/our/jobs")
    assert kept["applications"][0]["args"] == args | {"jobs": "/our/jobs"}
