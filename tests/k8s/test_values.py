"""Values of any kind come out of the chart as they went in: no scalar changes its meaning."""

import json
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from helm_python.errors import HelmError
from jsonschema import Draft7Validator

from kintsugi.deploy.settings import AppArgs
from tests.k8s.chart import CHART, joined, values
from tests.k8s.manifests import EVERYTHING, Manifest, named, render

# Everything that the chart can render, and a value for what is empty otherwise.
ALL = joined(
    yaml.safe_load((CHART / "values.yaml").read_text()),
    values("production"),
    EVERYTHING,
    {
        "image": {"pullSecrets": ["pull"]},
        "network": {"objectStorage": {"cidrs": ["192.0.2.0/24"]}},
        "storage": {
            "secret": "buckets",
            "volume": {"enabled": True, "storageClass": "fast"},
            "inside": {"enabled": True, "storageClass": "fast"},
        },
        "identity": {
            "serving": {"a.example/role": "reads"},
            "training": {"a.example/role": "writes"},
            "podLabels": {"a.example/use": "x"},
        },
        "gpu": {"nodeSelector": {"gpu": "l4"}},
        "spot": {"nodeSelector": {"spot": "x"}, "tolerations": [{"key": "spot"}]},
        "serving": {
            "releaseInPlace": "s3://b",
            "tracing": {"endpoint": "http://otel:4318", "cidrs": ["192.0.2.0/24"]},
            "faultTolerance": {"storageClass": "fast"},
        },
        "pipeline": {"workers": {"gpu": {"spot": 1}}},
        "kueue": {"nodeLabels": {"pool": "x"}},
    },
)
# Each is text; YAML takes the bare ones for a number, an alias, a comment, a map.
SHAPES = {
    "digits": "2026{:03}",
    "exponent": "{}e3",
    "alias": "*.x{}",
    "comment": "a{} #c",
    "map": "a{}: b",
    "quotes": "a{} \"b' \\c",
}
# These cannot differ from place to place.
WORDS = ("on", "null", "~", "1", "0x1f", "1e3", "2026-01-01")


def leaves(found: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(found, dict):
        for key, value in found.items():
            yield from leaves(value, (*path, key))
    elif isinstance(found, list):
        for index, value in enumerate(found):
            yield from leaves(value, (*path, index))
    else:
        yield path, found


def replaced(found: Any, change: Callable[[tuple[Any, ...], Any], Any], path: Any = ()) -> Any:
    """The same tree with each leaf, and each text of YAML inside of it, changed."""
    if isinstance(found, dict):
        return {key: replaced(value, change, (*path, key)) for key, value in found.items()}
    if isinstance(found, list):
        return [replaced(value, change, (*path, index)) for index, value in enumerate(found)]
    return change(path, found)


def read_inside(path: tuple[Any, ...], value: Any) -> Any:
    if path[-1] == "serveConfigV2":
        return yaml.safe_load(value)
    if path[-1] == "entrypoint":
        return shlex.split(value)
    # A hash of what is compared itself.
    return "" if path[-1] == "kintsugi/configuration" else value


def documents_with(said: Manifest) -> Any:
    return [replaced(document, read_inside) for document in render(said)]


@pytest.fixture(scope="module")
def free() -> list[tuple[Any, ...]]:
    """The paths of texts that may be any text: what the schema holds to a pattern cannot be."""
    schema = Draft7Validator(json.loads((CHART / "values.schema.json").read_text()))
    texts = [path for path, value in leaves(ALL) if isinstance(value, str)]
    found = [path for path in texts if schema.is_valid(_one(path, SHAPES["quotes"]))]
    # Held to a pattern by the template, since the release's own name is, too.
    found.remove(("nameOverride",))
    assert len(found) > 50
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_a_text_stays_that_text_wherever_it_stands(shape: str, free: Any) -> None:
    """Compared with plain words in the same places: nothing but the words may differ."""
    places = {path: index for index, path in enumerate(free)}

    def with_shape(text: str) -> Any:
        def change(path: tuple[Any, ...], value: Any) -> Any:
            return text.format(places[path]) if path in places else value

        return documents_with(replaced(ALL, change))

    plain = with_shape("word{:03}word")

    def expected(_: tuple[Any, ...], value: Any) -> Any:
        if isinstance(value, str):
            for index in range(len(free)):
                value = value.replace(f"word{index:03}word", SHAPES[shape].format(index))
        return value

    assert with_shape(SHAPES[shape]) == [replaced(document, expected) for document in plain]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_that_yaml_knows_stays_a_text(word: str, free: Any) -> None:
    def with_word(text: str) -> Any:
        return documents_with(replaced(ALL, lambda p, value: text if p in free else value))

    plain = "plain-and-simple"

    def expected(_: tuple[Any, ...], value: Any) -> Any:
        return value.replace(plain, word) if isinstance(value, str) else value

    assert with_word(word) == [replaced(document, expected) for document in with_word(plain)]


def _one(path: tuple[Any, ...], text: str | int) -> Manifest:
    said: Manifest = replaced(ALL, lambda here, value: text if here == path else value)
    return said


def test_a_count_of_millions_stays_a_whole_number() -> None:
    def change(path: tuple[Any, ...], value: Any) -> Any:
        whole = isinstance(value, int) and not isinstance(value, bool)
        # Of the workers some have to stay.
        return 2345678 if whole and path[-1] not in ("spot", "least") else value

    found = documents_with(replaced(ALL, change))
    for where, value in leaves(found):
        # A share of a CPU or GPU and a Quantity may be written so, nothing else.
        quantity = {"requests", "limits", "num_cpus", "num_gpus"} & set(where)
        assert quantity or not isinstance(value, float), where
        assert quantity or "2.3" not in str(value), where
    assert str(found).count("2345678") > 50


@pytest.mark.parametrize(("name", "namespace"), [("on", "1234"), ("y", "1e3"), ("null", "007")])
def test_names_that_yaml_takes_for_something_else(name: str, namespace: str) -> None:
    other = documents_with(joined(ALL, {"nameOverride": ""}))
    found = [
        replaced(document, read_inside)
        for document in render(joined(ALL, {"nameOverride": ""}), name, namespace)
    ]
    assert len(found) == len(other)
    for document in found:
        labels = document["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == name
        assert document["metadata"].get("namespace", namespace) == namespace
        for path, value in leaves(document):
            assert path[-1] not in ("app.kubernetes.io/instance", "serviceAccountName") or (
                isinstance(value, str)
            ), path


def test_a_name_that_no_service_may_have_is_refused() -> None:
    with pytest.raises(HelmError, match="a letter first"):
        render(joined(values("local"), {"nameOverride": "42"}))


def args_with(said: Manifest) -> Manifest:
    service = named(render(joined(values("local"), said)), "RayService", "kintsugi")
    args: Manifest = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"][0]["args"]
    return args


@pytest.mark.parametrize("empty", ["", None])
def test_the_service_starts_without_a_place_for_jobs(empty: str | None) -> None:
    """/v1/jobs answers 501 then; what the application refuses keeps all of it from starting."""
    assert AppArgs(**args_with({"storage": {"jobs": empty}})).jobs == ""


@pytest.mark.parametrize("name", ["release", "jobs", "api_keys"])
def test_no_setting_is_said_twice(name: str) -> None:
    """Of two the last would hold: an empty api_keys would open the service."""
    with pytest.raises(HelmError, match=f"serving.args: {name} is said by"):
        render(joined(values("local"), {"serving": {"args": {name: ""}}}))
