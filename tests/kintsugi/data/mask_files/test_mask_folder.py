"""A folder of masks is read once, as `kintsugi fill` reads a mask, and refused by a file's name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kintsugi.config.sections import DataSection
from kintsugi.data.mask_files.mask_folder import pack_masks, pin_masks, with_pinned
from kintsugi.data.mask_files.packed_masks import MASKS_PER_PART, PackedMasks, open_packed
from kintsugi.data.mask_shards import write_mask_set
from kintsugi.errors import ConfigError, StorageError
from kintsugi.masks.generators import draw_mask
from kintsugi.masks.sets import numbered_ids, parse_mask_set
from kintsugi.storage.storage import Storage
from tests.kintsugi.data.mask_files.pictures_of_masks import picture, write_masks

SIZE = 128
HOLE = draw_mask("thick", 96, 120, np.random.default_rng(0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "masks"
    folder.mkdir()
    return folder


def pack(folder: Path, size: int = SIZE) -> PackedMasks:
    return pack_masks(str(folder), Storage(folder.parent / "packed"), size)


def saved(image: Image.Image, path: Path, **options: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    image.save(path, **options)


def test_pictures_of_every_kind_give_the_hole_that_a_fill_would_have(folder: Path) -> None:
    grey = picture(HOLE)
    saved(grey, folder / "a.png")
    saved(grey.convert("1"), folder / "b.gif")
    saved(grey.convert("RGB"), folder / "deep" / "c.jpg", quality=95)
    saved(Image.merge("LA", (grey, Image.new("L", grey.size, 255))), folder / "d.png")
    saved(grey, folder / ".hidden.png")
    (folder / "notes.txt").write_text("white is the hole")
    packed = pack(folder)
    assert packed.count == 4
    assert all(np.array_equal(packed.mask(number), HOLE) for number in range(4))


def test_many_masks_keep_the_order_of_their_names(tmp_path: Path) -> None:
    count = MASKS_PER_PART + 2
    source = write_masks(tmp_path / "masks", count, side=32)
    packed = pack(Path(source))
    assert packed.count == count
    for number in (0, 1, MASKS_PER_PART - 1, MASKS_PER_PART, count - 1):
        expected = draw_mask("medium", 32, 32 + 8 * number, np.random.default_rng(number))
        # Larger ones are kept smaller.
        if 32 + 8 * number <= 2 * SIZE:
            assert np.array_equal(packed.mask(number), expected)


def test_a_large_mask_is_kept_as_small_as_it_is_of_use(folder: Path) -> None:
    hole = draw_mask("thick", 1000, 1500, np.random.default_rng(0))
    saved(picture(hole), folder / "large.png")
    assert pack(folder).mask(0).shape == (256, 384)


def test_a_written_set_and_packed_masks_are_packed_as_they_are(tmp_path: Path) -> None:
    mask_set = parse_mask_set("thick-128", seed=3)
    write_mask_set(mask_set, numbered_ids(5), Storage(tmp_path / "set"))
    packed = pack(tmp_path / "set")
    again = pack_masks(packed.uri, Storage(tmp_path / "again"), SIZE)
    assert again.sha256 == packed.sha256, "for the same crops it is a copy"
    smaller = pack_masks(packed.uri, Storage(tmp_path / "smaller"), SIZE // 4)
    assert smaller.mask(0).shape == (SIZE // 2, SIZE // 2)
    for number, mask_id in enumerate(numbered_ids(5)):
        assert np.array_equal(packed.mask(number), mask_set.mask_of(mask_id))
        assert np.array_equal(again.mask(number), mask_set.mask_of(mask_id))


def test_packed_masks_that_are_altered_are_not_copied(folder: Path) -> None:
    write_masks(folder)
    packed = Storage(pack(folder).uri)
    part = next(name for name in packed.list() if name.endswith(".parquet"))
    packed.write(part, packed.read(part)[:-1] + b"?")
    with pytest.raises(StorageError, match=r"packed/part-.* has SHA-256 .*, expected"):
        pack_masks(packed.uri, packed.join("again"), SIZE)


SPECK = np.zeros((2000, 2000), np.bool_)
SPECK[0, 0] = True


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("L", (64, 64)), r"it has no hole, which is white: mend it, or take it out"),
        (Image.new("L", (64, 64), 255), r"it is all hole, which is white, and leaves nothing"),
        (Image.new("RGB", (64, 64), (255, 0, 0)), r"the mask is in colour \(send a black and"),
        (Image.new("L", (64, 64), 1), r"the mask is empty: .* \(multiply a mask of 0 and 1 by 255"),
        (picture(SPECK), r"its hole is too small to be seen in a crop of 128 px"),
        (picture(~SPECK), r"too little is known to be seen in a crop of 128 px"),
    ],
)
def test_a_mask_that_is_of_no_use_is_named(folder: Path, image: Image.Image, message: str) -> None:
    write_masks(folder)
    saved(image, folder / "sub" / "bad.png")
    with pytest.raises(ConfigError, match=rf"data\.masks: .*sub/bad\.png .*{message}"):
        pack(folder)


def test_files_that_are_no_pictures_are_one_error(folder: Path) -> None:
    write_masks(folder)
    for name in ("b.png", "c.png", "d.png"):
        (folder / name).write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"b\.png is no mask .*; so are 2 of the \d+ that"):
        pack(folder)


def test_a_folder_without_masks_is_refused(folder: Path) -> None:
    (folder / "a.txt").write_text("")
    with pytest.raises(ConfigError, match=r"there is no picture in .*white is the hole"):
        pack(folder)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(StorageError, match=r"is no mask set's"):
        pack(folder)


def test_places_become_what_the_run_keeps_of_them_and_kinds_stay(tmp_path: Path) -> None:
    one, other = (write_masks(tmp_path / name, count) for name, count in (("a", 2), ("b", 3)))
    data = DataSection(shards="unused", crop_px=SIZE, masks=(one, "thick", other, one))
    home = Storage(tmp_path / "run")
    about = pin_masks(data, home)
    assert [(each["uri"], each["masks"]) for each in about] == [(one, 2), (other, 3)]
    kept = with_pinned(data, home).masks
    assert kept[1] == "thick"
    assert kept[0] == kept[3] != kept[2]
    assert [open_packed(kept[place]).count for place in (0, 2)] == [2, 3]
    # A run that begins again keeps what it begins with, and nothing from before.
    assert pin_masks(DataSection(shards="unused", masks=("thick",)), home) == []
    assert home.list() == []


@pytest.mark.parametrize("place", ["run/masks", "run/packed-masks/0", "."])
def test_a_place_in_the_runs_folder_or_around_it_is_refused_and_nothing_of_it_goes(
    tmp_path: Path, place: str
) -> None:
    masks = write_masks(tmp_path / "run" / "masks")
    write_masks(tmp_path / "run" / "packed-masks" / "0")
    before = Storage(tmp_path).list()
    uri = str((tmp_path / place).resolve())
    data = DataSection(shards="unused", crop_px=SIZE, masks=(uri,))
    with pytest.raises(ConfigError, match=r"lie in one another, .*: move the masks"):
        pin_masks(data, Storage(tmp_path / "run"))
    assert Storage(tmp_path).list() == before
    # A user's own folder of that name is not what a run keeps.
    pin_masks(DataSection(shards="unused", masks=("thick",)), Storage(tmp_path / "run"))
    assert Storage(masks).list()


def test_masks_in_a_bucket_are_packed_into_a_bucket(tmp_path: Path, s3_uri: str) -> None:
    source = Storage(f"{s3_uri}/masks")
    here = Storage(write_masks(tmp_path / "masks"))
    for name in here.list():
        source.write(name, here.read(name))
    packed = pack_masks(source.uri, Storage(f"{s3_uri}/run/masks/0"), SIZE)
    there = pack_masks(here.uri, Storage(tmp_path / "packed"), SIZE)
    for number in range(there.count):
        assert np.array_equal(packed.mask(number), there.mask(number))
