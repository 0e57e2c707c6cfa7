"""Written mask sets: what is written comes back, is verified, and serves an evaluation."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from kintsugi.data import mask_shards
from kintsugi.data.mask_files.mask_parts import decode, encode, read_mask_manifest
from kintsugi.data.mask_shards import open_mask_set, verify_mask_set, write_mask_set
from kintsugi.errors import ConfigError, InvalidInput, StorageError
from kintsugi.masks.sets import numbered_ids, parse_mask_set
from kintsugi.storage.storage import Storage

SET = parse_mask_set("thick-64", seed=3)
IDS = ["a.jpg", "b/c.jpg", "d.png"]


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test may have started it in this process.
    monkeypatch.setattr("kintsugi.storage.parallel.ray_is_running", lambda: False)


def test_a_mask_goes_through_png_unchanged() -> None:
    mask = SET.mask_of("a")
    assert np.array_equal(decode(encode(mask)), mask)


def test_what_is_written_is_reported_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mask_shards, "ROWS_PER_PART", 2)
    manifest = write_mask_set(SET, IDS, Storage(tmp_path))
    assert manifest == read_mask_manifest(Storage(tmp_path)) == verify_mask_set(Storage(tmp_path))
    assert [part.rows for part in manifest.parts] == [2, 1]
    shares = [float(SET.mask_of(name).mean()) for name in IDS]
    assert manifest.hole_share["mean"] == pytest.approx(np.mean(shares), abs=1e-6)
    assert sum(manifest.hole_bins) == 3
    table = pq.read_table(tmp_path / "part-00000.parquet")
    assert table["id"].to_pylist() == IDS[:2]
    assert table["hole_share"].to_pylist() == shares[:2]
    masks = open_mask_set(str(tmp_path))
    assert (masks.name, masks.side_px) == ("thick-64", 64)
    for name in IDS:
        assert np.array_equal(masks.mask_of(name), SET.mask_of(name))
    with pytest.raises(InvalidInput, match=r"no mask for e\.jpg"):
        masks.mask_of("e.jpg")


def test_a_numbered_set_has_a_mask_for_every_photograph(tmp_path: Path) -> None:
    write_mask_set(SET, numbered_ids(4), Storage(tmp_path))
    masks = open_mask_set(str(tmp_path))
    known = [SET.mask_of(number).tobytes() for number in numbered_ids(4)]
    given = [known.index(masks.mask_of(f"{i}.jpg").tobytes()) for i in range(40)]
    assert set(given) == {0, 1, 2, 3}
    assert masks.mask_of("a").tobytes() == masks.mask_of("a").tobytes()


def test_the_digest_does_not_depend_on_how_the_rows_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write_mask_set(SET, IDS, Storage(tmp_path / "a"))
    monkeypatch.setattr(mask_shards, "ROWS_PER_PART", 1)
    cut = write_mask_set(SET, IDS, Storage(tmp_path / "b"))
    assert len(cut.parts) == 3
    assert whole.masks_sha256 == cut.masks_sha256


def test_a_set_that_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    write_mask_set(SET, IDS, Storage(tmp_path))
    with pytest.raises(ConfigError, match="--overwrite"):
        write_mask_set(SET, IDS[:1], Storage(tmp_path))
    assert write_mask_set(SET, IDS[:1], Storage(tmp_path), overwrite=True).rows == 1


def test_damage_is_found(tmp_path: Path) -> None:
    write_mask_set(SET, IDS, Storage(tmp_path))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["set"]["seed"] = 4
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match=r"the mask a\.jpg is not the one .*seed 4"):
        verify_mask_set(Storage(tmp_path))
    (tmp_path / "part-00000.parquet").write_bytes(b"cut")
    with pytest.raises(StorageError, match=r"part-00000\.parquet has 3 bytes"):
        open_mask_set(str(tmp_path))
    manifest["version"] = 9
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match="format version 9"):
        open_mask_set(str(tmp_path))
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(StorageError, match="no mask set's"):
        open_mask_set(str(tmp_path))
    with pytest.raises(StorageError, match="no mask set at"):
        open_mask_set(str(tmp_path / "nowhere"))
