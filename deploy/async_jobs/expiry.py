"""What is deleted of jobs, and when; runs nothing. Every call may block: call it in a thread."""

from collections import defaultdict

from kintsugi.deploy.async_jobs.records import BatchRecord, Mark
from kintsugi.deploy.async_jobs.store import RECORD, JobDamaged, JobStore


class Expiry:
    """The end of what a store keeps."""

    def __init__(self, store: JobStore) -> None:
        self._store, self._place = store, store.place
        # When jobs that ended expire, so that a sweep does not read them all again.
        self._expiry: dict[str, float] = {}

    def sweep(self) -> int:
        """Delete what has expired, while jobs are sent and end. Returns: of how many jobs."""
        # In this order: a job comes into `open`, then `lists`, then `jobs`, and leaves `open`
        # when all of it is in `jobs`. What is in the first and in neither of the others is over.
        listed = self._place.list("lists")
        batches = self._place.list("batches")
        begun = self._begun()
        files: dict[str, list[str]] = defaultdict(list)
        for path in self._place.list("jobs"):
            files[path.split("/")[1]].append(path)
        known = {*files, *begun}
        for path in listed:
            when, _, job_id = path.rpartition("/")[2].partition("-")
            if job_id not in known and when.isdecimal() and self._is_past(int(when) / 1000):
                self._place.delete(path)
        for path in batches:
            batch = self._store.readable(path, BatchRecord)
            if batch is None or not self._is_past(batch.created):
                continue
            # As long as one of its jobs is known.
            if known.isdisjoint(row.job for row in batch.rows):
                self._place.delete(path)
        self._expiry = {job_id: self._expiry[job_id] for job_id in files if job_id in self._expiry}
        deleted = sum(self._expire(job_id, paths) for job_id, paths in files.items())
        for path in [*self._place.list("keys"), *self._place.list("owners")]:
            mark = self._store.readable(path, Mark)
            if mark is not None and self._store.is_over(mark):
                self._place.delete(path)
        return deleted

    def _begun(self) -> set[str]:
        """Those in `open`, without what has been there for too long, which is deleted."""
        begun = set()
        for path in self._place.list("open"):
            mark = self._store.readable(path, Mark)
            if mark is not None and self._is_past(mark.time):
                self._place.delete(path)
            else:
                begun.add(path.removeprefix("open/"))
        return begun

    def _expire(self, job_id: str, paths: list[str]) -> bool:
        """Delete a job's images when their time is over, and all of it later.

        ``paths`` may be older than the job's last files.
        """
        if self._store.now() < self._expiry.get(job_id, 0):
            return False
        # One that was being made when it was listed may be whole by now, or have ended: asked
        # before the record is looked for, since it leaves `open` when all else is there.
        was_whole = f"jobs/{job_id}/{RECORD}" in paths
        is_open = was_whole or self._place.exists(f"open/{job_id}")
        try:
            job = self._store.job(job_id)
        except JobDamaged as error:
            self._store.log_damaged(error)
            return False
        if job is None:
            # Left when its making was cut short.
            if not is_open:
                self._place.delete_folder(f"jobs/{job_id}")
            return not is_open
        if job.state != "expired":
            if job.finished is not None:
                self._expiry[job_id] = job.expires
            return False
        if self._store.now() < job.expires + self._store.ttl_seconds:
            return self._store.delete_images(job_id, paths)
        self._store.remove(job.record)
        return True

    def _is_past(self, moment: float) -> bool:
        """Whether what was made then, and is in nobody's hands, is kept no longer."""
        return moment + self._store.ttl_seconds <= self._store.now()
