"""Ray Train's own record of a run's checkpoints, kept true: it lists those that are whole.

Ray reads it when a run starts, and refuses to start where it is cut short or names a checkpoint
that is gone, as this platform deletes old ones itself. Knows Ray's format, and no Ray.
"""

import json
from collections.abc import Collection
from typing import Any

from kintsugi.runs.checkpoints import CheckpointStore, checkpoint_name

RAY_SNAPSHOT = "checkpoint_manager_snapshot.json"
# What of it lists checkpoints by their folders.
_RESULTS, _INDICES, _LATEST = (
    "checkpoint_results",
    "checkpoint_report_indices",
    "latest_checkpoint_result",
)
_OF_VALIDATION = (
    "pending_training_results",
    "pending_validation_specs",
    "validated_checkpoint_dir_names",
    "timed_out_validation_checkpoint_dir_names",
    "failed_validation_checkpoint_dir_names",
)


def mend_record(checkpoints: CheckpointStore, version: str) -> None:
    """Make Ray's record name the whole checkpoints alone; one that cannot be read is deleted.

    Args:
        checkpoints: The run's.
        version: Of the Ray that reads it next: it takes the records of no other.

    Raises: StorageError.
    """
    storage = checkpoints.storage
    if not storage.exists(RAY_SNAPSHOT):
        return
    mended = mend(
        storage.read(RAY_SNAPSHOT), {checkpoint_name(n) for n in checkpoints.steps()}, version
    )
    if mended is None:
        storage.delete(RAY_SNAPSHOT)
    else:
        storage.write(RAY_SNAPSHOT, mended)


def mend(text: bytes, whole: Collection[str], version: str) -> bytes | None:
    """A record of these checkpoints alone; None: it cannot be read, or it is another Ray's."""
    try:
        record: Any = json.loads(text)
    except ValueError:
        return None
    if not isinstance(record, dict) or record.get("ray_version") != version:
        return None
    results, indices = record.get(_RESULTS), record.get(_INDICES)
    if not isinstance(results, list) or not isinstance(indices, list):
        return None
    # Of one that was written twice, after a failure, the last.
    kept = {
        result["checkpoint_dir_name"]: (result, index)
        for result, index in zip(results, indices, strict=False)
        if isinstance(result, dict) and result.get("checkpoint_dir_name") in whole
    }
    pairs = [kept[name] for name in sorted(kept)]
    record[_RESULTS] = [result for result, _ in pairs]
    record[_INDICES] = [index for _, index in pairs]
    record[_LATEST] = pairs[-1][0] if pairs else None
    # There are none: held-out photographs are measured by the ranks.
    record |= {key: [] for key in _OF_VALIDATION}
    return json.dumps(record).encode()
