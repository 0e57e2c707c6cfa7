"""POST /v1/inpaint, /v1/stylize and their neighbours over an engine in this process."""

import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageCms

from kintsugi.deploy.sandbox import fork_client
from kintsugi.imaging.holed import open_holed
from kintsugi.inference.inpaint import fill_holed
from kintsugi.inference.methods import FillOptions, ReleaseMethod
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.pixels import image_to_tensor, mask_to_tensor, tensor_to_image
from tests.deploy.conftest import (
    MASK,
    MODEL,
    PHOTO,
    PROBLEM_KEYS,
    STYLE,
    decode,
    draw_mask,
    draw_photo,
    encode,
    post,
    post_style,
    problem,
)


def test_the_answer_is_the_inpainters_and_known_pixels_are_equal(
    client: TestClient, inpainter: Inpainter
) -> None:
    response = post(client)

    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-model-version"] == "tiny-random@sha256:0123456789ab"
    answer = decode(response.content)
    np.testing.assert_array_equal(answer[~MASK], PHOTO[~MASK])
    assert (answer[MASK] != PHOTO[MASK]).mean() > 0.5
    expected = inpainter.inpaint(image_to_tensor(PHOTO), mask_to_tensor(MASK))
    np.testing.assert_array_equal(answer, tensor_to_image(expected))


@pytest.mark.parametrize("format", ["JPEG", "TIFF", "WEBP"])
def test_other_formats_in(client: TestClient, format: str) -> None:
    sent = encode(PHOTO, format)
    answer = decode(post(client, image=sent, fields={"format": "png"}).content)
    np.testing.assert_array_equal(answer[~MASK], decode(sent)[~MASK])
    assert post(client, image=sent).headers["content-type"] == f"image/{format.lower()}"


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff"])
def test_other_formats_out(client: TestClient, format: str) -> None:
    response = post(client, fields={"format": format, "quality": "90"})
    assert response.headers["content-type"] == f"image/{format}"
    assert decode(response.content).shape == PHOTO.shape


def test_transparency_and_colour_profile_are_kept(client: TestClient) -> None:
    alpha = np.where(np.arange(112) < 50, 255, 100).astype(np.uint8)[None].repeat(80, axis=0)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    sent = encode(np.dstack([PHOTO, alpha]), icc_profile=profile)

    response = post(client, image=sent)

    with Image.open(io.BytesIO(response.content), formats=["PNG"]) as answer:
        assert answer.mode == "RGBA"
        assert answer.info["icc_profile"] == profile
        np.testing.assert_array_equal(np.array(answer)[..., 3], alpha)
        np.testing.assert_array_equal(np.array(answer)[~MASK][:, :3], PHOTO[~MASK])


def test_what_the_answer_cannot_hold_is_noted(client: TestClient) -> None:
    sent = encode(np.dstack([PHOTO, np.full((80, 112), 90, np.uint8)]))
    response = post(client, image=sent, fields={"format": "jpeg"})
    assert response.headers["x-image-notes"] == "transparency dropped: jpeg has none"


def test_the_mask_is_of_the_photograph_as_displayed(client: TestClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # Stored lying on its left side: displayed 80 wide, 112 high.
    upright = np.rot90(PHOTO, k=-1)
    mask = draw_mask(112, 80)

    answer = decode(post(client, image=encode(PHOTO, exif=exif), mask=encode(mask)).content)

    np.testing.assert_array_equal(answer[~mask], upright[~mask])


def test_the_images_own_transparency_can_be_the_hole(client: TestClient) -> None:
    sent = encode(np.dstack([PHOTO, np.where(MASK, 0, 255).astype(np.uint8)]))
    response = client.post(
        "/v1/inpaint", files={"image": ("a.png", sent)}, data={"mask_convention": "alpha"}
    )
    answer = decode(response.content)
    np.testing.assert_array_equal(answer[..., :3], decode(post(client).content))
    assert (answer[..., 3] == 255).all()


def test_what_a_fill_is_made_from_may_lie_far_away(
    client: TestClient, inpainter: Inpainter
) -> None:
    """As the facade, and with it the command, fills it."""
    pixels, mask = np.zeros((200, 1400, 4), np.uint8), np.zeros((200, 1400), np.bool_)
    pixels[:, 1000:] = np.dstack([draw_photo(200, 400), np.full((200, 400), 255, np.uint8)])
    mask[80:120, 100:140] = True
    pixels[mask] = (200, 10, 10, 255)
    answer = post(client, image=encode(pixels), mask=encode(mask))
    assert answer.status_code == 200, answer.text
    method = ReleaseMethod(inpainter, FillOptions())
    filled = fill_holed(open_holed(encode(pixels), encode(mask)), method)
    np.testing.assert_array_equal(decode(answer.content), decode(filled.body))


def test_in_the_alpha_convention_the_hole_of_a_mask_file_is_opaque_too(client: TestClient) -> None:
    alpha = np.where(MASK, 0, 200).astype(np.uint8)
    files = {"image": encode(np.dstack([PHOTO, alpha])), "mask": encode(np.dstack([PHOTO, alpha]))}
    answer = decode(post(client, {"mask_convention": "alpha"}, **files).content)
    np.testing.assert_array_equal(answer[..., 3], np.where(MASK, 255, 200))
    files["mask"] = encode(MASK)
    answer = decode(post(client, {}, **files).content)
    np.testing.assert_array_equal(answer[..., 3], alpha)


def test_options_reach_the_engine(client: TestClient) -> None:
    plain = decode(post(client).content)
    grown = decode(post(client, fields={"grow_mask": "8"}).content)
    changed = (grown != plain).any(axis=2)
    assert (changed & ~MASK).any()
    np.testing.assert_array_equal(decode(post(client, fields={"scales": "1"}).content), plain)


def test_a_style_transfer_is_the_inpainters(client: TestClient, inpainter: Inpainter) -> None:
    response = post_style(client)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-model-version"] == MODEL.version
    content, style = image_to_tensor(PHOTO), image_to_tensor(STYLE)
    answers = {1.0: decode(response.content)}
    for strength in (0.0, 0.5):
        answers[strength] = decode(post_style(client, {"strength": str(strength)}).content)
    for strength, answer in answers.items():
        expected = tensor_to_image(inpainter.stylize(content, style, strength=strength))
        np.testing.assert_array_equal(answer, expected)
    assert (answers[0.0] != answers[0.5]).any()
    assert (answers[0.5] != answers[1.0]).any()


def test_a_styled_picture_keeps_what_the_content_had(client: TestClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # Stored lying on its left side: displayed 80 wide, 112 high.
    alpha = np.full((80, 112), 90, np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    sent = encode(np.dstack([PHOTO, alpha]), icc_profile=profile, exif=exif)
    clear = STYLE[..., 0].copy()
    clear[:3] = 0
    style = encode(np.dstack([STYLE, clear]))

    response = post_style(client, content=sent, style=style)

    note = f"{np.count_nonzero(clear == 0)} transparent pixels of the style count as black"
    assert response.headers["x-image-notes"] == note
    with Image.open(io.BytesIO(response.content), formats=["PNG"]) as answer:
        assert (answer.mode, answer.size) == ("RGBA", (80, 112))
        assert answer.info["icc_profile"] == profile
        assert (np.array(answer)[..., 3] == 90).all()
    response = post_style(client, {"format": "jpeg", "quality": "40"}, content=sent)
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["x-image-notes"] == "transparency dropped: jpeg has none"


def test_the_request_id_is_echoed_when_it_is_harmless(client: TestClient) -> None:
    for given, echoed in (("abc-123", True), ("a" * 65, False), ("a b\tc", False), ("", False)):
        answer = client.get("/healthz", headers={"x-request-id": given})
        assert (answer.headers["x-request-id"] == given) is echoed
        assert answer.headers["x-request-id"]


def test_models_health_and_readiness(client: TestClient) -> None:
    models = client.get("/v1/models")
    assert models.json() == {
        "models": [{"name": MODEL.name, "digest": MODEL.digest, "size": "tiny"}]
    }
    assert models.headers["x-model-version"] == MODEL.version
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json() == {
        "ready": True,
        "requests": 0,
        "nodes": {"Inpainter": True},
    }


def test_openapi_documents_the_form(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert "less than 30 seconds ago" in paths["/readyz"]["get"]["description"]
    route = paths["/v1/inpaint"]["post"]
    form = route["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"image", "mask", "seed", "feather", "scales"} <= set(form["properties"])
    assert form["properties"]["grow_mask"]["maximum"] == 64
    (refusal,) = route["responses"]["422"]["content"].values()
    assert set(refusal["schema"]["required"]) == PROBLEM_KEYS
    assert "image/webp" in route["responses"]["200"]["content"]


def test_openapi_documents_the_style_transfer(client: TestClient) -> None:
    route = client.get("/openapi.json").json()["paths"]["/v1/stylize"]["post"]
    form = route["requestBody"]["content"]["multipart/form-data"]
    assert set(form["schema"]["properties"]) == {
        "content",
        "style",
        "strength",
        "model",
        "format",
        "quality",
        "strip_metadata",
        "seed",
    }
    assert form["schema"]["required"] == ["content", "style"]
    assert form["schema"]["properties"]["strength"]["maximum"] == 1
    assert set(form["example"]) <= set(form["schema"]["properties"])
    assert 0 <= form["example"]["strength"] <= 1


@pytest.mark.parametrize("format", ["TIFF", "PNG", "WEBP"])
def test_a_preview_is_what_browsers_show(client: TestClient, format: str) -> None:
    answer = client.post("/v1/preview", files={"image": ("x", encode(PHOTO, format))})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    shown = decode(answer.content)
    assert shown.shape == PHOTO.shape
    # By JPEG of high quality, or by WebP before it.
    assert np.abs(shown.astype(int) - PHOTO).mean() < 8


def test_a_preview_keeps_transparency_and_turns_upright(client: TestClient) -> None:
    alpha = np.full((*PHOTO.shape[:2], 1), 120, np.uint8)
    both = np.concatenate([PHOTO, alpha], axis=2)
    answer = client.post("/v1/preview", files={"image": ("x", encode(both, "TIFF"))})
    assert answer.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(decode(answer.content), both)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = client.post("/v1/preview", files={"image": ("x", encode(PHOTO, "TIFF", exif=exif))})
    assert decode(turned.content).shape == (PHOTO.shape[1], PHOTO.shape[0], 3)


def test_a_preview_has_the_limits_of_a_fill(make_client: Callable[..., TestClient]) -> None:
    client = make_client(max_pixels=1000, max_bytes=50_000)

    def ask(data: bytes, **fields: str) -> Any:
        return client.post("/v1/preview", files={"image": ("x", data)}, data=fields)

    problem(ask(encode(PHOTO)), 422, "image_too_many_pixels")
    problem(ask(b"0" * 60_000), 413, "body_too_large")
    problem(ask(b"no picture"), 415, "image_format_not_allowed")
    problem(ask(encode(PHOTO), format="png"), 422, "unknown_field")


def test_edited_pixels_are_saved_as_the_photograph_was(client: TestClient) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    edited = PHOTO.copy()
    edited[10:30, 20:50] = 0

    def save(original: bytes, filled: bytes, **fields: str) -> Any:
        files = {"image": ("a", original), "filled": ("b", filled)}
        return client.post("/v1/save", files=files, data=fields)

    jpeg = encode(PHOTO, "JPEG", quality=85, exif=exif)
    shown = decode(jpeg)
    shown[10:30, 20:50] = 0
    answer = save(jpeg, encode(shown))
    assert answer.headers["content-type"] == "image/jpeg", answer.text
    with Image.open(io.BytesIO(answer.content)) as saved, Image.open(io.BytesIO(jpeg)) as before:
        assert saved.getexif()[0x010F] == "Maker"
        assert saved.quantization == before.quantization
    assert np.abs(decode(answer.content)[15:25, 25:45].astype(int)).mean() < 3

    # Without loss known pixels are equal to the bit, also in grey and where another is asked for.
    answer = save(encode(PHOTO, "TIFF"), encode(edited))
    np.testing.assert_array_equal(decode(answer.content), edited)
    assert answer.headers["content-type"] == "image/tiff"
    grey = save(encode(PHOTO[..., 0]), encode(np.repeat(edited[..., :1], 3, axis=2)), format="png")
    np.testing.assert_array_equal(decode(grey.content), edited[..., 0])
    problem(save(jpeg, encode(edited[:-1])), 422, "filled_size_mismatch")
    problem(client.post("/v1/save", files={"image": ("a", jpeg)}), 422, "filled_missing")


def test_what_was_erased_and_filled_is_saved_opaque(client: TestClient) -> None:
    alpha = np.full(PHOTO.shape[:2], 255, np.uint8)
    alpha[10:30, 20:50] = 0
    alpha[:5, :5] = 100
    filled = alpha.copy()
    filled[10:30, 20:50] = 255
    files = {
        "image": ("a", encode(np.dstack([PHOTO, alpha]))),
        "filled": ("b", encode(np.dstack([PHOTO, filled]))),
    }
    saved = decode(client.post("/v1/save", files=files).content)
    np.testing.assert_array_equal(saved[..., 3], filled)
    # An answer without transparency says nothing of the file's.
    files["filled"] = ("b", encode(PHOTO))
    saved = decode(client.post("/v1/save", files=files).content)
    np.testing.assert_array_equal(saved[..., 3], alpha)


def test_16_bits_are_saved_again_but_where_they_were_edited(client: TestClient) -> None:
    deep = np.random.default_rng(0).integers(0, 2**16, (40, 50), np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(deep).save(buffer, "PNG")
    shown = np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, axis=2)
    shown[5:9, 5:9] = 255 - shown[5:9, 5:9]
    files = {"image": ("a", buffer.getvalue()), "filled": ("b", encode(shown))}
    saved = decode(client.post("/v1/save", files=files).content)
    assert saved.dtype != np.uint8
    edited = np.zeros_like(deep, dtype=bool)
    edited[5:9, 5:9] = True
    np.testing.assert_array_equal(saved[~edited], deep[~edited])
    np.testing.assert_array_equal(saved[edited] >> 8, shown[..., 0][edited])


def test_a_service_that_cannot_open_files_is_not_ready(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(fork_client.sys, "executable", "/bin/false")
        fork_client.SHARED.stop()
        problem(post(client), 500, "internal_error")
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["nodes"] == {"Inpainter": True, "Codecs": False}
    assert post(client).status_code == 200
    # After the second for which an answer counts.
    time.sleep(1.1)
    assert client.get("/readyz").json()["nodes"] == {"Inpainter": True}
