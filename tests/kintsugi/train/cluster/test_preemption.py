"""SIGTERM to a driver becomes the answer to a rank's question."""

import os
import signal
import time
from typing import Any

import pytest

pytestmark = pytest.mark.ray


def test_the_first_sigterm_asks_and_the_second_is_as_before(local_ray: Any) -> None:
    from kintsugi.train.cluster.preemption import asked_to_stop, stop_on_sigterm

    before = signal.getsignal(signal.SIGTERM)
    with stop_on_sigterm() as request:
        asked = asked_to_stop(request.signal)
        late = asked_to_stop(request.signal)
        time.sleep(0.5)
        assert not asked()
        assert not request.made
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.made
        end = time.monotonic() + 120
        while not (asked() and late()):
            assert time.monotonic() < end, "the signal did not arrive"
            time.sleep(0.01)
        assert signal.getsignal(signal.SIGTERM) is before


def test_without_a_signal_all_is_as_before(local_ray: Any) -> None:
    from kintsugi.train.cluster.preemption import stop_on_sigterm

    before = signal.getsignal(signal.SIGTERM)
    with stop_on_sigterm() as request:
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    assert not request.made
