"""kintsugi.storage.retry: transient failures are repeated, others are not, and not for ever."""

import re

import pytest

from kintsugi.storage.retry import Retry, call_with_retries

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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time now, in its one element; pauses take no time of the test's."""
    now = [0.0]
    monkeypatch.setattr("kintsugi.storage.retry.time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        "kintsugi.storage.retry.time.sleep", lambda pause: now.__setitem__(0, now[0] + pause)
    )
    return now


def test_it_ends_when_the_time_is_used_up(clock: list[float]) -> None:
    operation = Flaky(1000)
    retry = Retry(tries=1000, total_seconds=0.2, first_seconds=0.02)
    with pytest.raises(OSError, match="failure"):
        call_with_retries(operation, retry=retry, is_transient=is_oserror)
    # No pause begins that would end later; the next one would have been 0.16 s at most.
    assert 0.04 < clock[0] <= 0.2
    assert 3 < operation.calls < 20


def test_pauses_grow_to_a_limit_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("kintsugi.storage.retry.time.sleep", pauses.append)
    retry = Retry(first_seconds=1.0, longest_seconds=5.0)
    call_with_retries(Flaky(40), retry=retry, is_transient=is_oserror)
    for pause, limit in zip(pauses, [1, 2, 4, *[5] * 37], strict=True):
        assert limit / 2 <= pause <= limit
    assert len(set(pauses)) == 40, "clients that failed together come back apart"


def test_it_is_reported_once_in_a_while_and_not_each_time(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(OSError, match="failure"):
        call_with_retries(Flaky(999), retry=Retry(), is_transient=is_oserror, what="read s3://b/a")
    assert 230 < clock[0] <= 240, "minutes"
    logged = [record.message for record in caplog.records]
    assert 10 <= len(logged) <= 16
    first = re.match(
        r"cannot read s3://b/a since (\d+) s, tried \d+ times \(failure \d+\)", logged[0]
    )
    # The first try after 15 seconds, and the longest pause is 5.
    assert first is not None
    assert 15 <= int(first[1]) <= 20
    caplog.clear()
    call_with_retries(Flaky(3), retry=Retry(), is_transient=is_oserror)
    assert not caplog.records, "what passes in seconds is not worth a line"
