"""The page's words: each language has the same, and all that the page asks for."""

import json
import re

import pytest

from kintsugi.deploy.http.site import WEB

WORDS = {
    path.stem: json.loads(path.read_text()) for path in sorted((WEB / "languages").glob("*.json"))
}
# Keys that are put together where they are asked for.
MADE = re.compile(r"problem-\w+(?:-hint)?|sample-.+|state-\w+|brush-\w+|left-\w+|option-[\w-]+")


def asked_for() -> set[str]:
    html = (WEB / "index.html").read_text()
    keys = set(re.findall(r'data-say(?:-\w+)?="([^"]+)"', html))
    for script in WEB.rglob("*.js"):
        keys |= set(re.findall(r'say\(\s*"([^"]+)"', script.read_text()))
        # A Job's verb is a key.
        keys |= set(re.findall(r'new Job\(.+, "([^"]+)"\)', script.read_text()))
    return keys


def test_the_page_offers_just_these_languages() -> None:
    listed = re.search(r"LANGUAGES = \{(.+?)\};", (WEB / "words.js").read_text())
    assert listed
    assert set(re.findall(r"(\w+): ", listed[1])) == set(WORDS)


def test_every_word_that_is_asked_for_is_there() -> None:
    assert asked_for() - WORDS["en"].keys() == set()
    unused = {key for key in WORDS["en"].keys() - asked_for() if not MADE.fullmatch(key)}
    # Chosen by a condition in the code.
    chosen = {
        *("photo-missing", "look-missing", "photo-is", "look-is"),
        *("transferred", "transferred-smaller", "try-in-a-minute", "selecting"),
    }
    assert unused - chosen == set()


@pytest.mark.parametrize("language", WORDS)
def test_every_language_says_the_same(language: str) -> None:
    words = WORDS[language]
    assert list(words) == list(WORDS["en"])
    for key, text in words.items():
        assert text.strip(), key
        values = sorted(re.findall(r"\{(\w+)\}", WORDS["en"][key]))
        assert sorted(re.findall(r"\{(\w+)\}", text)) == values, key


def test_no_text_stands_in_the_page_itself() -> None:
    """But for what is the same in every language."""
    html = (WEB / "index.html").read_text()
    body = re.sub(r"<noscript>.*?</noscript>|<kbd.*?</kbd>", "", html[html.index("<body>") :])
    texts = {text.strip(" ,\n") for text in re.findall(r">([^<>]+)<", body)} - {""}
    same = {"Kintsugi", "100 %"}
    assert {text for text in texts - same if not re.fullmatch(r"\d+ : \d+", text)} == set()
