"""A checkpoint is whole or it is not used, and what it holds comes back to the bit."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kintsugi.data.sampler import Position, Used
from kintsugi.errors import StorageError
from kintsugi.runs.checkpoints import (
    REFUSED_NAME,
    Best,
    CheckpointProgress,
    CheckpointStore,
    DamagedCheckpoint,
    TrainState,
    checkpoint_name,
    save_checkpoint,
)
from kintsugi.storage.storage import Storage


def make_state(seed: int, width: int = 3) -> TrainState:
    torch.manual_seed(seed)
    networks = {
        "generator": nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width)),
        "discriminator": nn.Linear(width, 1),
    }
    return TrainState(
        networks=dict(networks),
        optimizers={name: torch.optim.Adam(n.parameters(), 1e-2) for name, n in networks.items()},
    )


def train(state: TrainState) -> list[float]:
    losses = []
    for step in range(3):
        data = torch.linspace(-1, 1, 8).reshape(4, 2) + step
        loss = state.networks["discriminator"](state.networks["generator"](data)).square().mean()
        for optimizer in state.optimizers.values():
            optimizer.zero_grad()
        loss.backward()
        for optimizer in state.optimizers.values():
            optimizer.step()
        losses.append(loss.item())
    return losses


def publish(store: CheckpointStore, state: TrainState, step: int, folder: Path) -> None:
    state.step = step
    local = folder / f"local-{step}"
    local.mkdir()
    save_checkpoint(local, state)
    store.publish(local, step)


def test_a_restored_run_goes_on_bit_equal(tmp_path: Path) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    state = make_state(0)
    train(state)
    state.position = Position(2, (Used(2, 4, 7), Used(1, 4, 1)))
    publish(store, state, 3, tmp_path)
    restored = make_state(1)
    assert store.newest_whole() == 3
    store.restore(restored, 3)
    assert (restored.step, restored.position) == (state.step, state.position)
    assert train(restored) == train(state)


def test_what_surrounds_the_networks_comes_back_as_well(tmp_path: Path) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    state, restored = make_state(0), make_state(1)
    for each in (state, restored):
        each.average = copy.deepcopy(each.networks["generator"])
        each.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0 if each is state else 2.0)
    assert state.average is not None
    state.best, state.stale = Best(4, 0.25), 3
    publish(store, state, 4, tmp_path)
    store.restore(restored, 4)
    assert (restored.best, restored.stale) == (Best(4, 0.25), 3)
    assert restored.average is not None
    for name, value in state.average.state_dict().items():
        assert torch.equal(restored.average.state_dict()[name], value)
    assert restored.scaler is not None
    assert restored.scaler.get_scale() == 1024
    assert store.progress(4) == CheckpointProgress(4, Best(4, 0.25), 3)
    assert store.progress(0) == CheckpointProgress()


def test_moments_take_the_memory_layout_of_their_weights(tmp_path: Path) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))

    def laid_out() -> TrainState:
        network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return TrainState(
            {"generator": network}, {"generator": torch.optim.Adam(network.parameters())}
        )

    state, restored = laid_out(), laid_out()
    state.networks["generator"](torch.rand(1, 3, 8, 8)).sum().backward()
    state.optimizers["generator"].step()
    publish(store, state, 1, tmp_path)
    store.restore(restored, 1)
    weight = restored.networks["generator"].weight
    moment = restored.optimizers["generator"].state[weight]["exp_avg"]
    assert moment.stride() == weight.stride()
    before = state.optimizers["generator"].state[state.networks["generator"].weight]["exp_avg"]
    assert torch.equal(moment, before)


def test_a_checkpoint_without_the_mean_that_the_configuration_asks_for_is_refused(
    tmp_path: Path,
) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    publish(store, make_state(0), 2, tmp_path)
    state = make_state(0)
    state.average = copy.deepcopy(state.networks["generator"])
    with pytest.raises(StorageError, match=r"does not fit .* running mean"):
        store.restore(state, 2)


def test_without_checkpoints_a_run_starts_at_nought(tmp_path: Path) -> None:
    assert CheckpointStore(Storage(tmp_path)).newest_whole() == 0


def damage_missing(file: Path) -> None:
    file.unlink()


def damage_cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def damage_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [damage_missing, damage_cut, damage_bit])
@pytest.mark.parametrize("name", ["generator.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_refused_by_name_and_the_one_before_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object, name: str
) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    for step in (2, 4):
        publish(store, make_state(step), step, tmp_path)
    assert callable(damage)
    damage(tmp_path / "run" / checkpoint_name(4) / name)
    assert store.newest_whole() == 2
    assert "step-00000004 is refused" in caplog.text
    assert name in caplog.text
    with pytest.raises(DamagedCheckpoint, match=name):
        store.restore(make_state(9), 4)


MANIFESTS = {
    "empty": b"",
    "cut": b'{"version": 1, "files": {"gen',
    "no text": bytes(range(128, 256)),
    "a list": b"[]",
    "no files": b'{"version": 1}',
    "files that are none": b'{"version": 1, "files": {"state.json": 3}}',
    "no version": b'{"files": {}}',
    "a version before the first": b'{"version": 0, "files": {}}',
    "nothing named": b'{"version": 1, "files": {}}',
}


@pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_manifest_that_vouches_for_nothing_is_refused(tmp_path: Path, manifest: bytes) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    for step in (2, 4):
        publish(store, make_state(step), step, tmp_path)
    (tmp_path / "run" / checkpoint_name(4) / "manifest.json").write_bytes(manifest)
    assert store.newest_whole() == 2


def test_a_checkpoint_of_a_format_to_come_is_not_passed_over(tmp_path: Path) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    for step in (2, 4):
        publish(store, make_state(step), step, tmp_path)
    newer = b'{"version": 2, "files": {}, "anything": "else"}'
    (tmp_path / "run" / checkpoint_name(4) / "manifest.json").write_bytes(newer)
    with pytest.raises(StorageError, match=r"step-00000004 is of format version 2.*newer Kintsugi"):
        store.newest_whole()


@pytest.mark.slow
def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    for step in (2, 4):
        publish(store, make_state(step), step, tmp_path)
    files = sorted((tmp_path / "run" / checkpoint_name(4)).iterdir())
    assert len(files) == 6
    random = np.random.default_rng(0)
    for file in files:
        whole = file.read_bytes()
        for bit in random.integers(8 * len(whole), size=16).tolist():
            data = bytearray(whole)
            data[bit // 8] ^= 1 << bit % 8
            file.write_bytes(bytes(data))
            assert store.newest_whole() == 2, (file.name, bit)
        file.write_bytes(whole)
    assert store.newest_whole() == 4


def test_a_checkpoint_under_another_ones_name_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    for step in (2, 4):
        publish(store, make_state(step), step, tmp_path)
    shutil.move(tmp_path / "run" / checkpoint_name(4), tmp_path / "run" / checkpoint_name(6))
    assert store.newest_whole() == 2
    assert "holds step 4" in caplog.text


def test_when_none_is_whole_the_run_does_not_start_over(tmp_path: Path) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    publish(store, make_state(0), 2, tmp_path)
    damage_bit(tmp_path / "run" / checkpoint_name(2) / "state.json")
    with pytest.raises(StorageError, match=r"none of the 1 checkpoints .* is whole: restore one"):
        store.newest_whole()


def test_storage_that_fails_is_not_taken_for_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    for step in (2, 4):
        publish(store, make_state(step), step, tmp_path)

    def gone(*_: object) -> None:
        raise StorageError("the network is down")

    monkeypatch.setattr(store.storage, "fetch_folder", gone)
    with pytest.raises(StorageError, match="the network is down"):
        store.newest_whole()


def test_an_upload_that_was_cut_off_is_no_checkpoint(tmp_path: Path) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    publish(store, make_state(0), 2, tmp_path)
    publish(store, make_state(1), 4, tmp_path)
    (tmp_path / "run" / checkpoint_name(4) / "manifest.json").unlink()
    assert store.steps() == [2]
    assert store.newest_whole() == 2


def test_another_architecture_is_refused_with_the_remedy(tmp_path: Path) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    publish(store, make_state(0), 2, tmp_path)
    with pytest.raises(StorageError, match=r"does not fit .* another name"):
        store.restore(make_state(0, width=5), 2)


def test_pruning_keeps_the_newest_and_removes_what_was_cut_off(tmp_path: Path) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    for step in (2, 4, 6, 8, 10):
        publish(store, make_state(step), step, tmp_path)
    (tmp_path / "run" / checkpoint_name(4) / "manifest.json").unlink()
    (tmp_path / "run" / "other.json").write_text(json.dumps({}))
    (tmp_path / "run" / "step-00000002-kept-by-hand").mkdir()
    (tmp_path / "run" / "step-00000002-kept-by-hand" / "manifest.json").write_text("{}")
    # What comes after may be what another process just wrote.
    store.prune(2, newest=8)
    assert store.steps() == [6, 8, 10]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "other.json",
        "step-00000002-kept-by-hand",
        "step-00000006",
        "step-00000008",
        "step-00000010",
    ]


def test_pruning_keeps_the_best_next_to_the_newest(tmp_path: Path) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    for step in (2, 4, 6, 8):
        state = make_state(step)
        state.best = Best(min(step, 4), 0.5)
        publish(store, state, step, tmp_path)
    store.prune(1, newest=8)
    assert store.steps() == [4, 8]


def test_what_comes_after_the_newest_whole_one_is_discarded(tmp_path: Path) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    for step in (2, 4, 6):
        publish(store, make_state(step), step, tmp_path)
    damage_bit(tmp_path / "run" / checkpoint_name(6) / "state.json")
    damaged = tmp_path / "run" / checkpoint_name(6)
    (tmp_path / "run" / checkpoint_name(8)).mkdir()
    (tmp_path / "run" / checkpoint_name(8) / "state.json").write_text("of one that was cut off")
    store.discard_after(store.newest_whole())
    assert store.steps() == [2, 4]
    assert not (tmp_path / "run" / checkpoint_name(8)).exists()
    # Nothing of it is lost, until the run comes there again.
    assert {path.name for path in damaged.iterdir()} >= {REFUSED_NAME, "generator.safetensors"}
    shutil.rmtree(tmp_path / "local-6")
    publish(store, make_state(6), 6, tmp_path)
    assert store.newest_whole() == 6
    assert not (damaged / REFUSED_NAME).exists()


def test_a_bit_that_flips_on_the_way_costs_no_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    for step in (500, 1000):
        publish(store, make_state(step), step, tmp_path)
    backend = store.storage._backend
    read, flipped = type(backend).read, []

    def flipping(self: Any, path: str) -> bytes:
        data: bytes = read(self, path)
        if path.endswith("generator.safetensors") and not flipped:
            flipped.append(path)
            return data[:-1] + bytes([data[-1] ^ 1])
        return data

    monkeypatch.setattr(type(backend), "read", flipping)
    store.discard_after(store.fetch_newest(tmp_path / "fetched"))
    assert len(flipped) == 1
    assert "reading it once more" in caplog.text
    assert store.steps() == [500, 1000]


def test_a_file_of_another_program_is_no_damage(tmp_path: Path) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    for step in (500, 1000):
        publish(store, make_state(step), step, tmp_path)
    (tmp_path / "run" / checkpoint_name(1000) / ".DS_Store").write_bytes(b"x")
    store.discard_after(store.fetch_newest(tmp_path / "fetched"))
    assert store.steps() == [500, 1000]


def test_a_best_checkpoint_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    state = make_state(0)
    state.best, state.stale = Best(2, 0.25), 1
    publish(store, state, 4, tmp_path)
    restored = make_state(1)
    store.restore(restored, 4)
    assert (restored.best, restored.stale) == (None, 0)
