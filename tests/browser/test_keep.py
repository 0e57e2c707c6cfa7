"""Work is kept while it is done, and there again after the page was closed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser.screen import STROKE, Screen
from tests.deploy.conftest import draw_photo, encode

pytestmark = pytest.mark.browser


def reload(screen: Screen) -> None:
    screen.wait_kept()
    screen.page.reload()
    screen.page.wait_for_selector("html[data-ready]")


def test_a_reload_keeps_strokes_fills_and_what_was_taken_back(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.drag(STROKE)
    first = screen.mask()
    screen.fill()
    filled = screen.download()[1]
    screen.drag([(200, 150), (230, 170)])
    screen.choose("lasso")
    screen.drag([(20, 20), (60, 20), (60, 60)])
    hole = screen.mask()
    screen.button("undo").click()
    without = screen.mask()

    reload(screen)
    np.testing.assert_array_equal(screen.mask(), without)
    name, again = screen.download()
    assert name == "beach-filled.png"
    np.testing.assert_array_equal(again, filled)
    screen.button("redo").click()
    np.testing.assert_array_equal(screen.mask(), hole)
    for _ in range(3):
        screen.button("undo").click()
    np.testing.assert_array_equal(screen.mask(), first)
    assert screen.button("download").is_disabled()


# As a browser that is short of memory does, or whose disk fails for a moment.
_UNREADABLE = """
const read = IDBObjectStore.prototype.get;
IDBObjectStore.prototype.get = function (key) {
  if (this.name === "files" && sessionStorage.getItem("unreadable")) {
    throw new DOMException("Internal error reading blob.", "UnknownError");
  }
  return read.call(this, key);
};
"""


def test_a_photo_that_cannot_be_read_once_is_there_the_next_time(
    screen: Screen, photo: Path
) -> None:
    screen.page.add_init_script(_UNREADABLE)
    screen.open(photo)
    screen.drag(STROKE)
    hole = screen.mask()
    screen.wait_kept()
    screen.page.evaluate("sessionStorage.setItem('unreadable', 'yes')")
    reload(screen)
    screen.notice.get_by_text("beach.png could not be opened this time.").wait_for()
    screen.part("welcome").wait_for()
    screen.page.evaluate("sessionStorage.clear()")
    reload(screen)
    np.testing.assert_array_equal(screen.mask(), hole)


def test_a_fill_that_was_no_job_is_painted_again(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.drag(STROKE)
    hole = screen.mask()
    asked: list[Any] = []
    screen.page.route("**/v1/inpaint", lambda route: asked.append(route))
    screen.button("fill").click()
    while not asked:
        screen.page.wait_for_timeout(50)
    reload(screen)
    np.testing.assert_array_equal(screen.mask(), hole)
    screen.page.unroute("**/v1/inpaint")
    screen.fill()


def test_a_photo_that_is_closed_is_forgotten(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.drag(STROKE)
    screen.fill()
    close = screen.page.locator('#more-sheet [data-action="close"]')
    dialog = screen.page.locator("#sure")
    screen.tab.locator('[popovertarget="more-sheet"]').click()
    close.click()
    assert "beach.png" in dialog.inner_text()
    dialog.get_by_text("Cancel").click()
    assert screen.stage.is_visible()
    # What was downloaded is closed without a question.
    screen.download()
    screen.tab.locator('[popovertarget="more-sheet"]').click()
    close.click()
    screen.part("welcome").wait_for()
    assert not dialog.is_visible()
    reload(screen)
    assert screen.part("welcome").is_visible()
    left = screen.page.evaluate(
        """() => new Promise(done => {
            indexedDB.open("kintsugi").onsuccess = ({ target }) => {
                const files = target.result.transaction("files").objectStore("files").count();
                files.onsuccess = () => done(files.result);
            };
        })"""
    )
    assert left == 0


def test_where_nothing_can_be_kept_the_page_asks_before_it_closes(
    open_page: Callable[..., Screen], photo: Path
) -> None:
    screen = open_page()
    asked: list[str] = []

    def refuse(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.accept()

    screen.page.on("dialog", refuse)
    # A private window, a full disk.
    screen.page.add_init_script(
        "IDBFactory.prototype.open = () => { throw new DOMException('no', 'SecurityError'); };"
    )
    screen.page.reload()
    screen.page.wait_for_selector("html[data-ready]")
    screen.notice.get_by_text("The browser does not keep this work.").wait_for()
    screen.open(photo)
    screen.drag(STROKE)
    other = screen.page.context.new_page()
    screen.page.close(run_before_unload=True)
    for _ in range(100):
        if asked:
            break
        other.wait_for_timeout(100)
    assert asked == ["beforeunload"]


def test_a_second_tab_says_where_the_work_is(screen: Screen, photo: Path) -> None:
    screen.open(photo)
    screen.wait_kept()
    second = Screen(screen.page.context.new_page())
    second.page.goto(screen.page.url)
    second.page.wait_for_selector("html[data-ready]")
    second.notice.get_by_text("Another tab has this page open").wait_for()
    # It works all the same.
    second.open(photo)
    second.drag(STROKE)
    second.fill()


def test_several_photos_are_filled_together(screen: Screen, photo: Path, tmp_path: Path) -> None:
    files = [photo]
    for index in (1, 2):
        files.append(tmp_path / f"more{index}.png")
        files[-1].write_bytes(encode(draw_photo(240, 320, seed=index)))
    screen.open(photo)
    screen.tab.locator("#more-sheet input[multiple]").set_input_files(files[1:])
    photos = screen.tab.locator(".tray .photo")
    photos.nth(2).wait_for()
    screen.tab.locator('.tray .photo[title="more2.png"][aria-current=true]').wait_for()
    screen.drag(STROKE)
    hole, touched = screen.mask(), screen.mask(1)
    screen.button("sameHole").click()
    screen.part("status").get_by_text("Put on 2 photos.").wait_for(state="attached")
    states = screen.tab.locator(".tray small")
    assert states.all_inner_texts() == ["painted"] * 3
    screen.button("fillAll").click()
    for index in range(3):
        states.nth(index).get_by_text("filled", exact=True).wait_for()

    reload(screen)
    assert states.all_inner_texts() == ["filled"] * 3
    with screen.page.expect_event("download"):
        pass_through: list[Any] = []
        screen.page.on("download", lambda given: pass_through.append(given))
        screen.button("downloadAll").click()
    while len(pass_through) < 3:
        screen.page.wait_for_timeout(50)
    named = {each.suggested_filename: np.array(Image.open(each.path())) for each in pass_through}
    assert set(named) == {"beach-filled.png", "more1-filled.png", "more2-filled.png"}
    for file in files:
        before = np.array(Image.open(file))
        after = named[f"{file.stem}-filled.png"]
        np.testing.assert_array_equal(after[~touched], before[~touched])
        assert (after[hole] != before[hole]).any()
    # From one to the next by keys.
    screen.stage.focus()
    screen.page.keyboard.press("PageUp")
    screen.tab.locator('.tray .photo[title="more1.png"][aria-current=true]').wait_for()


def test_a_reload_keeps_what_is_chosen_for_a_fill_and_its_file(
    screen: Screen, photo: Path, tmp_path: Path
) -> None:
    chosen = {
        "grow_mask": "5",
        "feather": "3",
        "align_colour": "false",
        "scales": "2",
        "seed": "7",
        "format": "jpeg",
        "quality": "61",
        "strip_metadata": "true",
        "mask_convention": "black",
        "invert_mask": "true",
        "mask_threshold": "200",
    }
    read = """inputs => Object.fromEntries(inputs.map(input =>
        [input.dataset.option, input.type === "checkbox" ? String(input.checked) : input.value]))"""
    controls = screen.tab.locator("[data-option]")
    screen.open(photo)
    preset = controls.evaluate_all(read)
    # Each of the controls is named above, so that a new one is tried, too.
    assert preset.keys() == chosen.keys()
    assert all(preset[name] != value for name, value in chosen.items())
    for name, value in chosen.items():
        screen.option(name, value)
    screen.choose("select")
    screen.part("select-bar").locator('[value="away"]').locator("..").click()
    hardness, size = screen.part("hardness"), screen.part("size")
    for slider, value in ((hardness, "40"), (size, "70")):
        slider.evaluate("(input, value) => { input.value = value; }", value)
        slider.dispatch_event("input")
    size_shown = screen.part("size-shown").inner_text()

    reload(screen)
    assert controls.evaluate_all(read) == chosen
    outputs = screen.tab.locator(".slider:has([data-option]) output")
    assert outputs.evaluate_all("all => all.map(each => each.textContent)") == ["5", "3"]
    assert screen.tab.locator('input[name="tool"][value="select"]').is_checked()
    assert screen.part("select-bar").locator('[value="away"]').is_checked()
    assert screen.part("hardness-shown").text_content() == "40%"
    assert screen.part("size-shown").inner_text() == size_shown
    # What is kept is what is sent, also of the result after it.
    screen.choose("brush")
    screen.drag(STROKE)
    sent = screen.sent_fills()
    screen.fill()
    screen.button("again").click()
    screen.wait_filled()
    for seed, body in zip(("7", "8"), sent, strict=True):
        for name, value in {"grow_mask": "5", "align_colour": "false", "scales": "2"}.items():
            assert f'name="{name}"\r\n\r\n{value}\r\n'.encode() in body
        assert f'name="seed"\r\n\r\n{seed}\r\n'.encode() in body
    reload(screen)
    assert controls.evaluate_all(read) == {**chosen, "seed": "8"}

    # With the last photograph goes what was chosen for it.
    screen.download()
    screen.tab.locator('[popovertarget="more-sheet"]').click()
    screen.page.locator('#more-sheet [data-action="close"]').click()
    screen.part("welcome").wait_for()
    reload(screen)
    screen.open(photo)
    assert controls.evaluate_all(read) == preset
    reload(screen)
    assert controls.evaluate_all(read) == preset
