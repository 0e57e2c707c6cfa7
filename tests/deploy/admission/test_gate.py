"""Who asks most leaves room for others; who is sent away hears when to come again."""

import asyncio
from dataclasses import replace

import pytest

from kintsugi.deploy.admission.fair_queue import FairQueue, TurnRequest
from kintsugi.deploy.admission.gate import Gate, GateLimits
from kintsugi.deploy.engine import Busy

LIMITS = GateLimits(places=16, body_bytes=1000, largest_body_bytes=1000, deadline_seconds=60)


def fill_up(gate: Gate, key: str, size: int = 1) -> int:
    """Requests of one key until it is refused. Returns how many were let in."""
    count = 0
    while True:
        try:
            gate.enter(key, size)
        except Busy:
            return count
        count += 1


def test_one_key_takes_half_and_each_further_one_a_part_of_the_rest() -> None:
    gate = Gate(LIMITS, FairQueue(2))
    assert fill_up(gate, "a") == 8
    assert [fill_up(gate, key) for key in "bcd"] == [4, 2, 1]


def test_a_heavier_key_takes_more() -> None:
    turns = FairQueue(2)
    gate = Gate(LIMITS, turns, weight_of=lambda key: 3.0 if key == "b" else 1.0)
    assert fill_up(gate, "b") == 12
    assert fill_up(gate, "a") == 2


@pytest.mark.parametrize("weight", [3.0, 16.0, 100.0])
@pytest.mark.parametrize("size", [1, 60, 250])
def test_no_weight_shuts_out_the_next_key_and_its_largest_body(weight: float, size: int) -> None:
    limits = replace(LIMITS, largest_body_bytes=250)
    gate = Gate(limits, FairQueue(2), weight_of=lambda key: weight if key == "heavy" else 1.0)
    light = Gate(limits, FairQueue(2))
    assert fill_up(gate, "heavy", size) >= fill_up(light, "light", size)
    assert gate.enter("other", 250)


def test_bytes_are_shared_too_and_one_body_always_fits() -> None:
    gate = Gate(LIMITS, FairQueue(2))
    assert fill_up(gate, "a", 100) == 5
    assert fill_up(gate, "b", 100) == 2
    assert Gate(LIMITS, FairQueue(2)).enter("a", 1000)
    with pytest.raises(Busy):
        Gate(LIMITS, FairQueue(2)).enter("a", 1001)


def test_leaving_gives_the_place_back_once() -> None:
    gate = Gate(LIMITS, FairQueue(2))
    ticket = gate.enter("a", 600)
    with pytest.raises(Busy):
        gate.enter("b", 600)
    ticket.leave()
    ticket.leave()
    assert gate.inside == 0
    gate.enter("b", 600)


def test_who_would_wait_too_long_is_refused_with_a_time_to_retry() -> None:
    async def go() -> Busy:
        turns = FairQueue(1)
        turns.mean_seconds = 10.0
        gate = Gate(LIMITS, turns)
        waiting = [asyncio.create_task(turns.turn(TurnRequest("a")).__aenter__()) for _ in range(6)]
        await asyncio.sleep(0)
        # Five wait 10 s each: more than half of the 60 s.
        gate.enter("a", 1)
        with pytest.raises(Busy) as caught:
            gate.enter("a", 1)
        # Nobody else's wait is so long.
        assert gate.enter("b", 1)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return caught.value

    assert asyncio.run(go()).retry_after == 20


def test_turns_that_do_not_end_are_noticed_before_they_do() -> None:
    """What is refused at the door waits for nothing; let in, it would wait half a deadline."""

    async def go() -> None:
        now = 0.0
        turns = FairQueue(2, clock=lambda: now)
        turns.mean_seconds = 1.0
        gate = Gate(LIMITS, turns)
        large = TurnRequest("a", megapixels=20)
        asked = [large, *[TurnRequest("a")] * 7]
        waiting = [asyncio.create_task(turns.turn(one).__aenter__()) for one in asked]
        await asyncio.sleep(0)
        # Six wait, and two are at work.
        assert turns.running() == 2
        now = 9.0
        for _ in range(2):
            gate.enter("a", 1)
        now = 11.0
        with pytest.raises(Busy) as caught:
            gate.enter("a", 1)
        assert "wait of 33 s" in str(caught.value)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(go())
