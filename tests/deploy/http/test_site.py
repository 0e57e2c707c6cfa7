"""The page's files: what they are served with, and that they ask for nothing of elsewhere."""

import io
import json
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from kintsugi.deploy.http import example_photos
from kintsugi.deploy.http.site import WEB
from kintsugi.deploy.options import InpaintOptions
from tests.deploy.conftest import problem

FILES = sorted(path for path in WEB.rglob("*") if path.is_file())


def test_the_page_and_its_files_come_with_a_strict_policy(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>Kintsugi</title>" in page.text
    for answer in (page, client.get("/web/main.js"), client.get("/web/settings.json")):
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'; img-src 'self' blob:; object-src 'none'")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-cache"
    assert client.head("/").status_code == 200


def test_the_documentation_is_a_page_of_our_own(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "unsafe" not in page.headers["content-security-policy"]
    for address in re.findall(r'(?:href|src)="([^"#]+)', page.text):
        assert client.get(f"/{address}").status_code == 200, address
    assert client.get("/web/docs/example.js").status_code == 200
    assert "/docs" not in client.get("/openapi.json").json()["paths"]


def test_a_file_that_is_known_is_not_sent_again(client: TestClient) -> None:
    sample = client.get("/web/settings.json").json()["samples"][0]["url"]
    for path in ("/web/main.js", "/", "/docs", f"/{sample}"):
        first = client.get(path)
        again = client.get(path, headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b""), path
        assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
        changed = client.get(path, headers={"if-none-match": '"of-another-one"'})
        assert (changed.status_code, changed.content) == (200, first.content), path


@pytest.mark.parametrize(
    "path", ["/web/nope.js", "/web/..%2fapi.py", "/web/%2e%2e/api.py", "/web/samples/..%2fa.png"]
)
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    document = problem(client.get(path), 404, "http_error")
    assert "/v1/inpaint" in document["hint"]
    assert "/web" not in document["hint"]


def test_the_page_gets_all_options_but_the_release(client: TestClient) -> None:
    settings = client.get("/web/settings.json").json()
    offered = {
        option.pop("name"): option
        for group in ("options", "mask_options", "file_options")
        for option in settings[group]
    }
    assert set(offered) == set(InpaintOptions.model_fields) - {"model"}
    assert offered["feather"] == {"default": 0, "type": "integer", "minimum": 0, "maximum": 64}
    assert offered["align_colour"] == {"default": True, "type": "boolean"}
    assert offered["quality"]["default"] == "auto"
    assert offered["mask_convention"]["enum"] == ["white", "black", "alpha", "painted"]


def test_every_option_has_words_in_every_language(client: TestClient) -> None:
    settings = client.get("/web/settings.json").json()
    for file in (WEB / "languages").glob("*.json"):
        words = json.loads(file.read_text())
        for group in ("options", "mask_options", "file_options"):
            for option in settings[group]:
                assert f"option-{option['name']}" in words
                if option["name"] == "mask_convention":
                    assert {f"option-mask_convention-{word}" for word in option["enum"]} <= {*words}


def test_three_photographs_to_try(client: TestClient) -> None:
    offered = client.get("/web/settings.json").json()["samples"]
    assert len(offered) == 3
    for sample in offered:
        answer = client.get("/" + sample["url"])
        with Image.open(io.BytesIO(answer.content)) as image:
            assert answer.headers["content-type"] == f"image/{image.format.lower()}"
            assert min(image.size) >= 300
        assert sample["title"]


def test_without_the_package_there_are_no_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example_photos, "_PACKAGE", "a_package_that_nobody_has")
    assert example_photos.find_samples() == {}


def test_the_page_knows_the_limits_of_the_service(client: TestClient) -> None:
    settings = client.get("/web/settings.json").json()
    assert settings["max_pixels"] == 128_000_000
    assert settings["max_bytes"] == 100_000_000


def test_the_page_is_no_part_of_the_documented_api(client: TestClient) -> None:
    assert not {"/", "/web/settings.json"} & set(client.get("/openapi.json").json()["paths"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_is_short_and_keeps_to_itself(file: Path) -> None:
    text = file.read_text()
    assert text.count("\n") <= 300
    urls = set(re.findall(r"https?://[\w./-]+", text)) - {"http://www.w3.org/2000/svg"}
    assert urls == set()
    # Addresses that begin with a slash leave the sub-path of a proxy.
    assert not re.search(r"""(?:href|src|url)\s*[=(:]\s*["']?/""", text)
    assert not re.search(r"\sstyle=|\son[a-z]+=\"|<script>|eval\(|innerHTML", text)
