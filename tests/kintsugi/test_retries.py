"""kintsugi.retries: transient failures are repeated, others are not, and not for ever."""

import time

import pytest

from kintsugi.retries import Retry, call_with_retries

QUICK = Retry(tries=4, total_seconds=10.0, first_seconds=0.001)


class Flaky:
    """Fails a number of times, then returns its number of calls."""

    def __init__(self, failures: int, error: type[Exception] = OSError) -> None:
        self.failures, self.error, self.calls = failures, error, 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error(f"failure {self.calls}")
        return self.calls


def is_oserror(error: Exception) -> bool:
    return isinstance(error, OSError)


def test_it_repeats_until_it_succeeds() -> None:
    assert call_with_retries(Flaky(3), retry=QUICK, is_transient=is_oserror) == 4


def test_the_last_error_is_raised_when_the_tries_are_used_up() -> None:
    operation = Flaky(9)
    with pytest.raises(OSError, match="failure 4"):
        call_with_retries(operation, retry=QUICK, is_transient=is_oserror)
    assert operation.calls == 4


def test_a_lasting_error_is_raised_at_once() -> None:
    operation = Flaky(1, KeyError)
    with pytest.raises(KeyError):
        call_with_retries(operation, retry=QUICK, is_transient=is_oserror)
    assert operation.calls == 1


def test_it_ends_when_the_time_is_used_up() -> None:
    operation = Flaky(1000)
    retry = Retry(tries=1000, total_seconds=0.2, first_seconds=0.02)
    started = time.monotonic()
    with pytest.raises(OSError, match="failure"):
        call_with_retries(operation, retry=retry, is_transient=is_oserror)
    assert time.monotonic() - started < 1.0
    assert 2 < operation.calls < 20
