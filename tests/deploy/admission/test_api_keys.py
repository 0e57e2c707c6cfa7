"""Whose a key is follows from its name or its digest alone, whatever else is in the file."""

import os
from pathlib import Path

import pytest

from kintsugi.deploy.admission.api_keys import KeyFile, parse_keys
from kintsugi.errors import ConfigError

FIRST, SECOND, OTHER = "aaaa-1111-aaaa-1111", "aaaa-2222-aaaa-2222", "bbbb-3333-bbbb-3333"
KEYS = f"# of the shop, old and new\nshop: {FIRST}\nshop: {SECOND}\n\n{OTHER}\n"
DAY = 86_400.0


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(KEYS)
    return path


def name_of(keys: KeyFile, key: str) -> str | None:
    found = keys.find(key)
    return None if found is None else found.name


def rewrite(path: Path, text: str) -> None:
    """Change a file so that its time changes, too, however coarse the clock is."""
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_keys_have_names(key_file: Path) -> None:
    keys = KeyFile(key_file)
    assert name_of(keys, FIRST) == name_of(keys, SECOND) == "shop"
    for other in ("", FIRST[:-1], FIRST + "1", "shop", "# of the shop, old and new", "\xe9"):
        assert keys.find(other) is None


def test_a_name_that_was_not_given_does_not_depend_on_the_line(key_file: Path) -> None:
    keys = KeyFile(key_file)
    before = name_of(keys, OTHER)
    assert before is not None
    assert before.startswith("key-")
    rewrite(key_file, f"{SECOND}\n# one line more\nnew: cccc-4444-cccc-4444\n{OTHER}\n")
    assert name_of(keys, OTHER) == before
    # Two keys never get one name by being moved about.
    assert name_of(keys, SECOND) not in (before, "shop", None)
    assert OTHER not in before


def test_shares_and_days(key_file: Path) -> None:
    now = [0.0]
    key_file.write_text(
        f"shop: {FIRST} expires=2027-01-31\nshop: {SECOND} weight=2 expires=2027-02-28T12:00:00Z\n"
        f"{OTHER} weight=0.5\n"
    )
    keys = KeyFile(key_file, clock=lambda: now[0])
    old, new = keys.find(FIRST), keys.find(SECOND)
    assert old is not None
    assert new is not None
    assert keys.weight_of("shop") == 2
    assert keys.weight_of(name_of(keys, OTHER) or "") == 0.5
    assert keys.weight_of("nobody") == 1
    # During a rotation both hold, and then the new one.
    assert not keys.is_expired(old)
    now[0] = 1_801_353_600.0
    assert keys.is_expired(old)
    assert not keys.is_expired(new)
    now[0] += 29 * DAY
    assert keys.is_expired(new)


GOOD = "k" * 16


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no key in it"),
        ("# none\n\n", "no key in it"),
        (f"two {GOOD}", "line 1: write `name: key`"),
        (f"{GOOD}\nna me: {GOOD}2", "line 2: write `name: key`"),
        ("name:", "line 1: write"),
        ("name: secret-too-sho", "a key 16 to 256 visible"),
        (f"{GOOD}\xe9", "line 1: write"),
        (f"{GOOD} weight=0", "line 1: weight=0: a number from 0.01 to 100"),
        (f"{GOOD} weight=nan", "weight=nan: a number"),
        (f"{GOOD} expires=tomorrow", "line 1: expires=tomorrow: a day such as"),
        (f"{GOOD} colour=red", "line 1: write"),
        (f"a: {GOOD}-same\nb: {GOOD}-same", "line 2: the key is there already"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match="api_keys=f") as caught:
        parse_keys(text, "api_keys=f")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    for secret in (GOOD, "secret"):
        assert secret not in str(caught.value)


def test_keys_change_without_a_restart(key_file: Path) -> None:
    keys = KeyFile(key_file)
    rewrite(key_file, "shop: cccc-4444-cccc-4444\n")
    assert name_of(keys, "cccc-4444-cccc-4444") == "shop"
    assert keys.find(FIRST) is None


@pytest.mark.parametrize("break_it", ["empty", "broken", "gone", "binary"])
def test_a_file_that_breaks_keeps_the_old_keys_and_is_logged_once(
    key_file: Path, break_it: str, caplog: pytest.LogCaptureFixture
) -> None:
    keys = KeyFile(key_file)
    if break_it == "gone":
        key_file.unlink()
    elif break_it == "binary":
        key_file.write_bytes(b"\xff\xfe")
    else:
        rewrite(key_file, "" if break_it == "empty" else "not a key")
    for _ in range(3):
        assert name_of(keys, FIRST) == "shop"
    (line,) = caplog.messages
    assert line.startswith("the API keys stay as they were: ")
    assert "aaaa" not in line
    key_file.write_text("shop: dddd-5555-dddd-5555")
    assert name_of(keys, "dddd-5555-dddd-5555") == "shop"
