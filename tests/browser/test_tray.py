"""Several photographs: what is left of them, filling all, and closing one with work on it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.screen import STROKE, Screen
from tests.deploy.conftest import draw_photo, encode

pytestmark = pytest.mark.browser

# So long that no line of a narrow screen holds it, and with nothing to break at.
LONG_NAME = "facade-05june05_static_street_boston__p1010738.png"


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    files = [tmp_path / name for name in ("a.png", "b.png", LONG_NAME)]
    for seed, file in enumerate(files):
        file.write_bytes(encode(draw_photo(240, 320, seed=seed)))
    return files


def open_all(screen: Screen, files: list[Path]) -> None:
    """The last of them is on the stage afterwards."""
    screen.open(files[-1])
    for index, file in enumerate(files[:-1], start=2):
        screen.tab.locator("#more-sheet input[multiple]").set_input_files(file)
        screen.tab.locator(".tray li").nth(index - 1).wait_for()
    show(screen, files[-1].name)


def show(screen: Screen, name: str) -> None:
    photo = screen.tab.locator(f'.tray .photo[title="{name}"]')
    photo.click()
    screen.page.wait_for_function(
        "photo => photo.getAttribute('aria-current') === 'true'", arg=photo.element_handle()
    )
    screen.settle()


def focused(screen: Screen) -> str:
    """Class or role of what has the focus, and its title."""
    name: str = screen.page.evaluate(
        "() => [document.activeElement.className || document.activeElement.tagName,"
        " document.activeElement.title].join(' ').trim()"
    )
    return name


def overlaps(one: dict[str, float], other: dict[str, float]) -> bool:
    return all(
        one[at] < other[at] + other[size] and other[at] < one[at] + one[size]
        for at, size in (("x", "width"), ("y", "height"))
    )


@pytest.mark.parametrize(
    ("width", "height"), [(320, 568), (390, 844), (768, 1024), (844, 390), (1280, 800)]
)
def test_what_is_left_is_counted_and_filled_together(
    open_page: Callable[..., Screen], photos: list[Path], width: int, height: int
) -> None:
    screen = open_page(
        viewport={"width": width, "height": height}, has_touch=width < 1000, is_mobile=width < 1000
    )
    open_all(screen, photos)
    left = screen.part("left")
    assert not left.is_visible()
    screen.drag(STROKE)
    show(screen, "b.png")
    screen.drag(STROKE)
    assert left.inner_text() == "2 left"
    everything = [left, *(screen.button(f"{name}") for name in ("fillAll", "sameHole"))]
    boxes = [each.bounding_box() for each in (*everything, screen.button("downloadAll"))]
    for at, box in enumerate(boxes):
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height
        assert not any(overlaps(box, other) for other in boxes[at + 1 :])
    assert screen.page.evaluate("document.documentElement.scrollWidth") == width
    # The photo has the most of the screen.
    assert screen.stage.bounding_box()["height"] >= 0.2 * height

    held: list[Any] = []
    screen.page.route("**/v1/inpaint", lambda route: held.append(route))
    screen.button("fillAll").click()
    for index in range(2):
        while len(held) == index:
            screen.page.wait_for_timeout(50)
        assert left.inner_text() == f"{2 - index} left"
        job = screen.tab.locator(".job")
        text, cancel = job.locator(".job-text"), job.locator("button")
        assert not overlaps(text.bounding_box(), cancel.bounding_box())
        assert text.evaluate("text => text.scrollWidth <= text.clientWidth + 1")
        held[index].continue_()
    screen.button("downloadAll").and_(screen.page.locator(":enabled")).wait_for()
    left.wait_for(state="hidden")


def test_the_count_is_said_in_the_language_that_is_chosen(
    screen: Screen, photos: list[Path]
) -> None:
    open_all(screen, photos)
    screen.drag(STROKE)
    screen.page.locator("#language").select_option("de")
    screen.part("left").get_by_text("Noch 1").wait_for()
    assert "bemalt" in screen.tab.locator(".tray small").all_inner_texts()


def test_what_fails_of_several_is_said_of_each(screen: Screen, photos: list[Path]) -> None:
    open_all(screen, photos)
    screen.drag(STROKE)
    show(screen, "b.png")
    screen.drag(STROKE)
    screen.page.route("**/v1/inpaint", lambda route: route.abort())
    screen.button("fillAll").click()
    screen.notice.get_by_text(f"{LONG_NAME}, b.png: The service did not answer.").wait_for()
    assert screen.part("left").inner_text() == "2 left"


def test_a_file_that_is_no_picture_is_named_when_others_are_opened_after_it(
    screen: Screen, photos: list[Path], tmp_path: Path
) -> None:
    bad = [tmp_path / "notes.png", tmp_path / "list.png"]
    for file in bad:
        file.write_bytes(b"no picture")
    screen.tab.locator('.welcome input[type="file"]').set_input_files(
        [bad[0], photos[0], bad[1], photos[1]]
    )
    screen.tab.locator('.tray .photo[title="b.png"][aria-current="true"]').wait_for()
    said = screen.notice.inner_text()
    assert "notes.png is not a picture that can be read." in said
    assert "list.png is not a picture that can be read." in said
    # What to do about both is said once.
    assert said.count("Open a PNG, JPEG, WebP, TIFF or HEIC.") == 1


def test_closing_a_photo_with_strokes_asks_by_keyboard(screen: Screen, photos: list[Path]) -> None:
    open_all(screen, photos)
    screen.drag(STROKE)
    hole = screen.mask()
    dialog = screen.page.locator("#sure")
    keyboard = screen.page.keyboard
    close = screen.tab.locator(f'.tray .close[title="Close {LONG_NAME}"]')
    close.focus()
    keyboard.press("Enter")
    dialog.wait_for()
    assert "What is painted on it is not filled yet and will be gone." in dialog.inner_text()
    # What loses nothing has the focus.
    assert screen.page.evaluate("document.activeElement.textContent") == "Cancel"
    keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert focused(screen) == f"close Close {LONG_NAME}"
    assert (screen.mask() == hole).all()
    # Not on the stage: it asks as well.
    show(screen, "a.png")
    close.focus()
    keyboard.press("Enter")
    keyboard.press("Tab")
    keyboard.press("Enter")
    dialog.wait_for(state="hidden")
    assert screen.tab.locator(".tray li").count() == 2
    assert focused(screen).startswith("photo")
    # Without work on it, at once; the focus is on what is left.
    screen.tab.locator('.tray .close[title="Close b.png"]').focus()
    keyboard.press("Enter")
    screen.part("tray-bar").wait_for(state="hidden")
    assert not dialog.is_visible()
    assert focused(screen).startswith("stage")


def test_closing_from_the_menu_gives_the_focus_back(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.drag(STROKE)
    keyboard = screen.page.keyboard
    screen.tab.locator('.bar [popovertarget="more-sheet"]').focus()
    keyboard.press("Enter")
    screen.tab.locator('#more-sheet [data-action="close"]').focus()
    keyboard.press("Enter")
    screen.page.locator("#sure").wait_for()
    keyboard.press("Escape")
    screen.page.locator("#sure").wait_for(state="hidden")
    assert (
        screen.page.evaluate("document.activeElement.getAttribute('popovertarget')") == "more-sheet"
    )


def test_the_question_says_what_is_lost_and_fits_a_phone(
    open_page: Callable[..., Screen], photos: list[Path]
) -> None:
    screen = open_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    screen.open(photos[-1])
    dialog = screen.page.locator("#sure")

    def question() -> str:
        screen.tab.locator('.bar [popovertarget="more-sheet"]').tap()
        screen.tab.locator('#more-sheet [data-action="close"]').tap()
        dialog.wait_for()
        for button in dialog.locator("button").all():
            box = button.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390
        said: str = dialog.locator("p").inner_text()
        dialog.get_by_text("Cancel").tap()
        return said

    screen.drag(STROKE)
    assert question() == "What is painted on it is not filled yet and will be gone."
    screen.page.route("**/v1/inpaint", lambda route: None)
    screen.button("fill").tap()
    assert question() == "It is being filled, and its result will be gone."
    screen.tab.locator(".job button").tap()
    screen.page.unroute("**/v1/inpaint")
    screen.fill()
    assert question() == "Its result was not downloaded and will be gone."
    screen.drag(STROKE)
    assert (
        question() == "Its result was not downloaded, and more is painted on it: both will be gone."
    )
