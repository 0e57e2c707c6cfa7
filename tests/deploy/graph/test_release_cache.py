"""kintsugi.deploy.graph.release_cache: a replica gives every call the release that it asks for."""

import asyncio
import pickle
from dataclasses import replace

import pytest

from kintsugi.deploy.engine import ModelInfo, ReleaseUnreadable
from kintsugi.deploy.graph.release_cache import ReleaseCache
from kintsugi.deploy.graph.request_context import Release, ReleaseChanged
from kintsugi.deploy.http.problems import to_problem


class Store:
    """Releases at places, and what was loaded."""

    def __init__(self) -> None:
        self.digests = {"a": "1", "b": "2", "c": "3"}
        self.loaded: list[str] = []

    def load(self, uri: str) -> tuple[str, ModelInfo]:
        self.loaded.append(uri)
        return f"weights {self.digests[uri]}", self.release(uri).model

    def release(self, uri: str) -> Release:
        return Release(uri, ModelInfo(uri, f"sha256:{self.digests[uri]}", "tiny"))


def get(cache: ReleaseCache[str], *releases: Release) -> list[str]:
    async def all_at_once() -> list[str]:
        return await asyncio.gather(*(cache.get(release) for release in releases))

    return asyncio.run(all_at_once())


def test_another_release_is_loaded_once() -> None:
    store = Store()
    cache = ReleaseCache(store.load, "a")
    assert cache.own == store.release("a")
    a, b = store.release("a"), store.release("b")
    assert get(cache, a, b, b, a, b) == [f"weights {n}" for n in (1, 2, 2, 1, 2)]
    assert get(cache, b) == ["weights 2"]
    assert store.loaded == ["a", "b"]


def test_a_third_one_takes_the_place_of_the_one_that_is_not_asked_for() -> None:
    store = Store()
    cache = ReleaseCache(store.load, "a")
    for uri in ("b", "a", "c", "a"):
        get(cache, store.release(uri))
    assert store.loaded == ["a", "b", "c"]
    get(cache, store.release("b"))
    assert store.loaded == ["a", "b", "c", "b"]


def test_all_that_are_served_stay_while_each_is_replaced() -> None:
    store = Store()
    store.digests["d"] = "4"
    cache = ReleaseCache(store.load, "a", ["b"])
    assert [model.name for model in cache.models] == ["a", "b"]
    for uri in ("c", "d", "a", "b", "c", "d"):
        get(cache, store.release(uri))
    assert store.loaded == ["a", "b", "c", "d"]


def test_another_release_at_the_same_place_is_no_answer() -> None:
    store = Store()
    cache = ReleaseCache(store.load, "a")
    asked = store.release("b")
    store.digests["b"] = "4"
    with pytest.raises(
        ReleaseChanged, match=r"at b is b@sha256:4 by now, .* begun with b@sha256:2"
    ):
        get(cache, asked)
    assert get(cache, store.release("b")) == ["weights 4"]


def test_what_cannot_be_loaded_is_named_and_asked_for_again() -> None:
    store = Store()
    cache = ReleaseCache(store.load, "a")
    asked = store.release("b")
    del store.digests["b"]
    with pytest.raises(ReleaseUnreadable, match="release b@sha256:2 cannot be loaded") as caught:
        get(cache, asked)
    # From process to process it says the same.
    sent = pickle.dumps(caught.value)
    problem = to_problem(pickle.loads(sent))  # noqa: S301
    assert (problem.status, problem.code) == (503, "release_unreadable")
    assert "b@sha256:2" in problem.detail
    assert int(problem.headers["retry-after"]) > 0
    store.digests["b"] = "2"
    assert get(cache, asked) == ["weights 2"]


def test_its_own_release_is_not_loaded_again_when_the_refiner_says_more_of_it() -> None:
    store = Store()
    cache = ReleaseCache(store.load, "a")
    asked = replace(store.release("a"), searches=True, first_side=128)
    assert get(cache, asked) == ["weights 1"]
    assert store.loaded == ["a"]
