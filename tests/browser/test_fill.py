"""Filling on the page: paint, fill, compare, download, undo; and what is said when it fails."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from kintsugi.imaging.codec import decode_mask
from kintsugi.imaging.photo_options import MaskOptions, choice
from tests.browser.conftest import SUB_PATH
from tests.browser.screen import Screen
from tests.deploy.conftest import draw_mask, draw_photo, encode

pytestmark = pytest.mark.browser

STROKE = ((80.0, 60.0), (120.0, 110.0), (150.0, 100.0))


@pytest.mark.parametrize("path", ["/", SUB_PATH + "/"])
def test_paint_fill_compare_and_download(
    open_page: Callable[..., Screen], photo: Path, path: str
) -> None:
    screen = open_page(path)
    screen.open(photo)
    screen.drag(STROKE)
    hole, touched = screen.mask(), screen.mask(1)
    assert hole.shape == (240, 320)
    assert hole[60, 80]
    assert not hole[200, 20]
    screen.fill()
    # The result whole, without a divider.
    assert not screen.divider.is_visible()
    screen.button("compare").click()
    middle = screen.shown()
    box = screen.stage.bounding_box()
    y = box["y"] + box["height"] / 2
    screen.page.mouse.move(box["x"] + box["width"] / 2, y)
    screen.page.mouse.down()
    screen.page.mouse.move(*screen.at((10, 120)), steps=3)
    screen.page.mouse.up()
    assert int(screen.divider.get_attribute("aria-valuenow")) < 10
    assert (screen.shown() != middle).any()

    name, answer = screen.download()
    assert name == "beach-filled.png"
    before = np.array(Image.open(photo))
    np.testing.assert_array_equal(answer[~touched], before[~touched])
    assert (answer[hole] != before[hole]).mean() > 0.5


def test_a_sample_is_filled_without_a_photo_of_ones_own(screen: Screen) -> None:
    assert screen.tab.locator(".welcome .sample").count() == 3
    screen.tab.locator(".welcome .sample").first.click()
    screen.stage.wait_for()
    box = screen.stage.bounding_box()
    screen.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    screen.fill()
    assert screen.button("download").is_enabled()


def test_every_tool_paints_what_it_says(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.choose("rectangle")
    screen.drag([(40, 50), (140, 90)])
    expected = np.zeros((240, 320), np.bool_)
    expected[50:90, 40:140] = True
    np.testing.assert_array_equal(screen.mask(), expected)

    screen.choose("eraser")
    screen.drag([(60, 70), (80, 70)])
    erased = expected & ~screen.mask()
    assert erased[70, 70]
    assert 200 < erased.sum() < 2000

    screen.button("clear").click()
    assert not screen.mask().any()
    screen.choose("lasso")
    screen.drag([(200, 40), (280, 40), (280, 120)])
    inside = screen.mask()
    assert inside[60, 270]
    assert not inside[110, 210]
    assert 0.8 < inside.sum() / (80 * 80 / 2) < 1.2


def test_undo_and_redo_go_through_strokes_and_fills(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.drag(STROKE)
    first = screen.mask()
    screen.drag([(200, 150), (230, 170)])
    both = screen.mask()
    screen.button("undo").click()
    np.testing.assert_array_equal(screen.mask(), first)
    screen.page.keyboard.press("Control+Shift+z")
    np.testing.assert_array_equal(screen.mask(), both)

    screen.fill()
    _, filled = screen.download()
    assert not screen.mask().any()
    # On the result, with the tool that is still in hand.
    screen.drag([(40, 200), (60, 210)])
    hole, touched = screen.mask(), screen.mask(1)
    screen.fill()
    _, twice = screen.download()
    np.testing.assert_array_equal(twice[~touched], filled[~touched])
    assert (twice != filled).any()

    screen.page.keyboard.press("Control+z")
    np.testing.assert_array_equal(screen.mask(), hole)
    np.testing.assert_array_equal(screen.download()[1], filled)
    screen.page.keyboard.press("Control+z")
    screen.page.keyboard.press("Control+z")
    np.testing.assert_array_equal(screen.mask(), both)
    assert screen.button("download").is_disabled()


def test_a_mask_is_imported_and_painted_on(screen: Screen, photo: Path, tmp_path: Path) -> None:
    screen.open(photo)
    mask = draw_mask(240, 320)
    (tmp_path / "mask.png").write_bytes(encode(mask))
    screen.part("import").set_input_files(tmp_path / "mask.png")
    screen.button("clear").and_(screen.page.locator(":enabled")).wait_for()
    np.testing.assert_array_equal(screen.mask(), mask)
    screen.drag([(250, 200), (270, 210)])
    assert (screen.mask() > mask).any()

    (tmp_path / "small.png").write_bytes(encode(draw_mask(60, 80)))
    screen.part("import").set_input_files(tmp_path / "small.png")
    screen.notice.wait_for()
    assert "80 × 60 pixels but the photo is 320 × 240" in screen.notice.inner_text()  # noqa: RUF001
    assert (screen.mask() > mask).any()


def test_dropped_and_pasted_photos_are_opened(screen: Screen) -> None:
    data = list(encode(draw_photo(90, 120)))
    give = """([data, kind]) => {
        const files = new DataTransfer();
        files.items.add(new File([new Uint8Array(data)], "given.png", { type: "image/png" }));
        const event = kind === "drop"
            ? new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: files, bubbles: true });
        document.body.dispatchEvent(event);
    }"""
    screen.page.evaluate(give, [data, "drop"])
    screen.stage.wait_for()
    assert screen.mask().shape == (90, 120)
    screen.page.evaluate(give, [list(encode(draw_photo(50, 70))), "paste"])
    screen.page.wait_for_function(
        "() => document.querySelector('[data-part=status]').textContent.includes('70 by 50')"
    )
    assert screen.mask().shape == (50, 70)


def test_what_is_no_picture_is_said_in_words(screen: Screen, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_bytes(b"no picture")
    screen.tab.locator('.welcome input[type="file"]').set_input_files(tmp_path / "notes.png")
    screen.notice.wait_for()
    said = screen.notice.inner_text()
    assert "notes.png is not a picture that can be read." in said
    assert "Open a PNG, JPEG, WebP, TIFF or HEIC." in said


def test_what_the_service_refuses_is_said_with_what_to_do(
    screen: Screen, photo: Path, tmp_path: Path
) -> None:
    screen.open(photo)
    screen.button("fill").click()
    assert "Paint over what should go, then fill." in screen.notice.inner_text()

    (tmp_path / "full.png").write_bytes(encode(np.ones((240, 320), np.bool_)))
    screen.part("import").set_input_files(tmp_path / "full.png")
    screen.button("clear").and_(screen.page.locator(":enabled")).wait_for()
    screen.button("fill").click()
    screen.notice.get_by_text("The whole photo is painted over.").wait_for()
    assert "Request " in screen.notice.inner_text()

    # What has no words of the page's own: the service's.
    grow = screen.page.locator('[data-option="grow_mask"]')
    grow.evaluate("input => { input.max = 99; input.value = 99; }")
    screen.button("fill").click()
    screen.notice.get_by_text("Grow_mask='99' is not one of its values.").wait_for()
    assert "Grow_mask: 0 to 64 pixels" in screen.notice.inner_text()


def test_what_the_sheet_of_options_says_is_sent(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.drag(STROKE)
    sent: list[bytes] = []

    def keep(route: Any) -> None:
        sent.append(route.request.post_data_buffer or b"")
        route.continue_()

    screen.page.route("**/v1/inpaint", keep)
    options = screen.page.locator('[data-part="options"] [data-option]')
    assert options.count() == 8
    screen.option("grow_mask", "5")
    assert screen.page.locator("#options-sheet output").first.text_content() == "5"
    screen.fill()
    for name, value in {
        "grow_mask": "5",
        "feather": "0",
        "align_colour": "true",
        "scales": "auto",
        "seed": "0",
    }.items():
        assert f'name="{name}"\r\n\r\n{value}\r\n'.encode() in sent[0]


def test_the_file_is_written_as_the_options_say(screen: Screen, tmp_path: Path) -> None:
    path = tmp_path / "camera.jpg"
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    Image.fromarray(draw_photo(240, 320)).save(path, exif=exif, quality=95)
    screen.open(path)
    screen.drag(STROKE)
    screen.fill()
    sizes = []
    for quality in ("90", "30"):
        screen.option("quality", quality)
        with screen.page.expect_download() as caught:
            screen.button("download").click()
        sizes.append(caught.value.path().stat().st_size)
        with Image.open(caught.value.path()) as saved:
            assert saved.getexif()[0x010F] == "Camera"
    assert sizes[1] < sizes[0]
    screen.option("strip_metadata", "true")
    screen.option("format", "avif")
    with screen.page.expect_download() as caught:
        screen.button("download").click()
    assert caught.value.suggested_filename == "camera-filled.avif"
    with Image.open(caught.value.path()) as saved:
        assert (saved.format, dict(saved.getexif())) == ("AVIF", {})


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("L", {}),
        ("L", {"mask_threshold": "100"}),
        ("L", {"invert_mask": "true"}),
        ("RGB", {"mask_convention": "black"}),
        ("RGBA", {"mask_convention": "alpha"}),
        ("RGBA", {"mask_convention": "painted", "mask_threshold": "200"}),
        ("RGBA", {}),
    ],
)
def test_a_mask_is_read_as_the_service_reads_it(
    screen: Screen, photo: Path, tmp_path: Path, mode: str, options: dict[str, str]
) -> None:
    soft = Image.fromarray(draw_mask(240, 320).astype(np.uint8) * 255)
    soft = soft.filter(ImageFilter.GaussianBlur(6))
    mask = soft if mode != "RGBA" else Image.merge("LA", (Image.new("L", soft.size, 255), soft))
    data = io.BytesIO()
    mask.convert(mode).save(data, "PNG")
    (tmp_path / "mask.png").write_bytes(data.getvalue())
    values: dict[str, Any] = {
        name: value == "true" if name == "invert_mask" else choice(name).parse(value)
        for name, value in options.items()
    }
    screen.open(photo)
    for name, value in options.items():
        screen.option(name, value)
    screen.part("import").set_input_files(tmp_path / "mask.png")
    screen.button("clear").and_(screen.page.locator(":enabled")).wait_for()
    expected = decode_mask(data.getvalue(), options=MaskOptions(**values))
    np.testing.assert_array_equal(screen.mask(), expected)


def test_a_mask_that_cannot_be_meant_so_is_said(
    screen: Screen, photo: Path, tmp_path: Path
) -> None:
    screen.open(photo)
    screen.part("import").set_input_files(photo)
    screen.notice.get_by_text("The mask is in colour.").wait_for()
    (tmp_path / "mask.png").write_bytes(encode(draw_mask(240, 320)))
    screen.option("mask_convention", "painted")
    screen.part("import").set_input_files(tmp_path / "mask.png")
    screen.notice.get_by_text("Nothing in the mask is transparent.").wait_for()
    assert not screen.mask().any()


def test_a_service_that_is_gone_loses_nothing(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.drag(STROKE)
    before = screen.mask()
    screen.page.route("**/v1/inpaint", lambda route: route.abort())
    screen.button("fill").click()
    screen.notice.get_by_text("The service did not answer.").wait_for()
    np.testing.assert_array_equal(screen.mask(), before)
    screen.page.unroute("**/v1/inpaint")
    screen.fill()
    assert not screen.notice.is_visible()


def test_a_busy_service_is_asked_again(screen: Screen, photo: Path) -> None:
    answers = [503, 503]

    def busy(route: object) -> None:
        if answers:
            route.fulfill(status=answers.pop(), headers={"retry-after": "1"})  # type: ignore[attr-defined]
        else:
            route.continue_()  # type: ignore[attr-defined]

    screen.open(photo)
    screen.drag(STROKE)
    screen.page.route("**/v1/inpaint", busy)
    screen.button("fill").click()
    screen.tab.locator(".job").get_by_text("the service is busy").wait_for()
    screen.wait_filled()
    assert answers == []


def test_a_fill_is_cancelled(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.drag(STROKE)
    before = screen.mask()
    # Never answered.
    screen.page.route("**/v1/inpaint", lambda route: None)
    screen.button("fill").click()
    with screen.page.expect_event("requestfailed"):
        screen.tab.locator(".job button").click()
    screen.button("fill").and_(screen.page.locator(":enabled")).wait_for()
    assert screen.button("download").is_disabled()
    assert not screen.notice.is_visible()
    np.testing.assert_array_equal(screen.mask(), before)


def bodies(screen: Screen) -> list[bytes]:
    """What is sent from now on, one for each fill."""
    sent: list[bytes] = []

    def keep(route: Any) -> None:
        sent.append(route.request.post_data_buffer)
        route.continue_()

    screen.page.route("**/v1/inpaint", keep)
    return sent


def test_paint_fill_paint_fill_without_another_click(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    for row in (60, 120, 180):
        screen.drag([(80, row), (140, row + 10)])
        hole = screen.mask()
        assert hole[row, 80]
        assert not hole[(row + 60) % 240, 80]
        screen.page.keyboard.press("f")
        screen.wait_filled()
        assert screen.tab.locator('input[name="tool"]:checked').get_attribute("value") == "brush"
        assert not screen.divider.is_visible()
    assert not screen.mask().any()


def test_what_is_painted_while_a_fill_runs_stays(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.drag(STROKE)
    first, touched = screen.mask(), screen.mask(1)
    held: list[Any] = []
    screen.page.route("**/v1/inpaint", lambda route: held.append(route))
    screen.button("fill").click()
    while not held:
        screen.page.wait_for_timeout(50)
    screen.drag([(200, 150), (230, 170)])
    second = screen.mask()
    assert second[150, 200]
    assert not (first & second).any()
    # What was sent is not taken back while it runs, what came later is.
    screen.button("undo").click()
    assert screen.button("undo").is_disabled()
    screen.button("redo").click()
    held[0].continue_()
    screen.button("download").and_(screen.page.locator(":enabled")).wait_for()
    np.testing.assert_array_equal(screen.mask(), second)
    answer = screen.download()[1]
    before = np.array(Image.open(photo))
    np.testing.assert_array_equal(answer[~touched], before[~touched])

    # Cancelled, both holes are one again.
    held.clear()
    screen.button("fill").click()
    while not held:
        screen.page.wait_for_timeout(50)
    screen.drag(STROKE)
    screen.tab.locator(".job button").click()
    screen.button("fill").and_(screen.page.locator(":enabled")).wait_for()
    np.testing.assert_array_equal(screen.mask(), first | second)


def test_the_brush_fills_when_it_is_lifted(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.tab.locator('[popovertarget="brush-sheet"]').click()
    screen.part("fill-on-release").check()
    screen.page.keyboard.press("Escape")
    screen.drag(STROKE)
    screen.wait_filled()
    screen.drag([(200, 150), (230, 170)])
    screen.wait_filled()
    assert not screen.mask().any()
    assert (screen.download()[1] != np.array(Image.open(photo))).any()
    # It is preferred the next time, too.
    screen.page.reload()
    screen.page.wait_for_selector("html[data-ready]")
    assert screen.part("fill-on-release").is_checked()


def test_before_is_seen_while_its_button_is_held(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.page.mouse.move(5, 5)
    before = screen.shown()
    screen.drag(STROKE)
    screen.fill()
    screen.page.mouse.move(5, 5)
    after = screen.shown()
    assert (after != before).any()
    box = screen.button("peek").bounding_box()
    screen.page.mouse.move(box["x"] + 15, box["y"] + 15)
    screen.page.mouse.down()
    np.testing.assert_array_equal(screen.shown(), before)
    screen.page.mouse.up()
    np.testing.assert_array_equal(screen.shown(), after)
    screen.button("peek").focus()
    screen.page.keyboard.down("Enter")
    np.testing.assert_array_equal(screen.shown(), before)
    screen.page.keyboard.up("Enter")
    np.testing.assert_array_equal(screen.shown(), after)


def test_another_result_for_the_same_hole(screen: Screen, photo: Path) -> None:
    sent = bodies(screen)
    screen.open(photo)
    screen.drag(STROKE)
    hole = screen.mask()
    screen.fill()
    screen.button("again").click()
    screen.tab.locator(".job").wait_for(state="hidden")
    screen.wait_filled()
    assert [b'name="seed"\r\n\r\n%d\r\n' % seed in body for seed, body in enumerate(sent)] == [
        True,
        True,
    ]
    screen.page.keyboard.press("Control+z")
    np.testing.assert_array_equal(screen.mask(), hole)


def test_a_soft_brush_feathers_what_it_painted(screen: Screen, photo: Path) -> None:
    sent = bodies(screen)
    screen.open(photo)
    screen.tab.locator('[popovertarget="brush-sheet"]').click()
    screen.tab.get_by_role("button", name="Large, soft").click()
    assert screen.part("size-shown").inner_text() == "40 px"
    assert screen.part("hardness-shown").inner_text() == "50%"
    screen.part("keep-brush").click()
    assert screen.tab.get_by_role("button", name="12.5%, 50% hard", exact=True).is_visible()
    screen.page.keyboard.press("Escape")
    screen.drag(STROKE)
    screen.fill()
    assert b'name="feather"\r\n\r\n10\r\n' in sent[0]


def test_the_canvas_is_expanded_and_filled(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.drag([(20, 30), (40, 30)])
    painted, touched = screen.mask(), screen.mask(1)
    screen.tab.locator('[popovertarget="more-sheet"]').click()
    screen.tab.locator('[popovertarget="canvas-sheet"]').click()
    form = screen.part("canvas-form")
    form.locator("select").select_option("1.5")
    assert "320 × 240 becomes 360 × 240" in form.inner_text()  # noqa: RUF001
    form.locator('[name="top"]').fill("8")
    form.locator('button[type="submit"]').click()
    screen.settle()
    hole = screen.mask()
    assert hole.shape == (248, 360)
    np.testing.assert_array_equal(hole[8:, 20:340], painted)
    assert hole[:8].all()
    assert hole[:, :20].all()
    assert hole[:, 340:].all()
    screen.fill()
    answer = screen.download()[1]
    before = np.array(Image.open(photo))
    np.testing.assert_array_equal(answer[8:, 20:340, :3][~touched], before[~touched])
    screen.page.keyboard.press("Control+z")
    screen.page.keyboard.press("Control+z")
    np.testing.assert_array_equal(screen.mask(), painted)


def test_the_result_is_copied(open_page: Callable[..., Screen], photo: Path) -> None:
    screen = open_page(permissions=["clipboard-read", "clipboard-write"])
    screen.open(photo)
    screen.drag(STROKE)
    screen.fill()
    screen.page.keyboard.press("Control+c")
    screen.notice.get_by_text("The result is in the clipboard.").wait_for()
    copied = screen.page.evaluate(
        """async () => {
            const [item] = await navigator.clipboard.read();
            const bitmap = await createImageBitmap(await item.getType("image/png"));
            return [bitmap.width, bitmap.height];
        }"""
    )
    assert copied == [320, 240]
