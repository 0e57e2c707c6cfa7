"""A checkpoint is whole or it is not used, and what it holds comes back to the bit."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from kintsugi.checkpoints import (
    CheckpointStore,
    DamagedCheckpoint,
    TrainState,
    checkpoint_name,
    save_checkpoint,
)
from kintsugi.errors import StorageError
from kintsugi.order import Position, Used
from kintsugi.storage import Storage


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


def test_when_none_is_whole_the_run_does_not_start_anew(tmp_path: Path) -> None:
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
    for step in (2, 4, 6, 8):
        publish(store, make_state(step), step, tmp_path)
    (tmp_path / "run" / checkpoint_name(8) / "manifest.json").unlink()
    (tmp_path / "run" / "other.json").write_text(json.dumps({}))
    store.prune(2, newest=6)
    assert store.steps() == [4, 6]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "other.json",
        "step-00000004",
        "step-00000006",
    ]


def test_pruning_removes_what_comes_after_the_newest_whole_one(tmp_path: Path) -> None:
    store = CheckpointStore(Storage(tmp_path / "run"))
    for step in (2, 4, 6):
        publish(store, make_state(step), step, tmp_path)
    damage_bit(tmp_path / "run" / checkpoint_name(6) / "state.json")
    store.prune(1, newest=store.newest_whole())
    assert store.steps() == [4]
