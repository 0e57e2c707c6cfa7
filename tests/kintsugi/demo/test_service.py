"""A port that the service cannot have is refused before anything is started."""

import socket

import pytest

from kintsugi.demo.service import check_port
from kintsugi.errors import ConfigError


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
