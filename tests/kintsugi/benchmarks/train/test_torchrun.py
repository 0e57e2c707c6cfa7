"""What a plain loop that failed says."""

import sys

import pytest

from kintsugi.benchmarks.train.torchrun import _run
from kintsugi.errors import KintsugiError


def test_what_a_process_said_last_is_shown_and_not_the_stack_of_torchrun() -> None:
    printed = [
        "terminate called without an active exception",
        "E1201 api.py:1002] failed (exitcode: -6) local_rank: 1 (pid: 29313) of binary: python",
        *(f"stack of torchrun, line {number}" for number in range(80)),
    ]
    program = f"import sys; print({chr(10).join(printed)!r}); sys.exit(1)"
    with pytest.raises(KintsugiError) as caught:
        _run([sys.executable, "-c", program])
    assert "\nterminate called without an active exception\n" in str(caught.value)
    assert "of torchrun" not in str(caught.value)
