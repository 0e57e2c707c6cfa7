"""Keys are rotated and taken away while the service runs: what is of one tenant stays its own."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.abuse.conftest import ABUSE
from tests.abuse.laptop import Laptop, laptop, wait_until

pytestmark = ABUSE

FIRST, ROTATED = "the-first-key-of-tenant-a-0001", "the-next-key-of-tenant-a-0002"
OTHER = "the-only-key-of-tenant-b-0003"
UNNAMED = "a-key-that-has-no-name-0004", "another-key-without-a-name-0005"
PATHS = ("/v1/jobs/{id}", "/v1/jobs/{id}/result")


class Tenants:
    """A service whose file of keys can be changed."""

    def __init__(self, service: Laptop, keys: Path) -> None:
        self._service = service
        self._keys = keys

    def allow(self, *lines: str) -> None:
        """Change the file, and wait until each of the keys holds."""
        self.write(*lines)
        for key in (line.rpartition(" ")[2] for line in lines):
            wait_until(lambda key=key: self.get("/keyz", key) == 204, "allowed", 60, self._service)

    def write(self, *lines: str) -> None:
        """Change the file as an operator does: at once."""
        fresh = self._keys.with_suffix(".new")
        fresh.write_text("".join(f"{line}\n" for line in lines))
        fresh.replace(self._keys)

    def get(self, path: str, key: str) -> int:
        return self._service.get(path, headers={"x-api-key": key}).status_code

    def delete(self, path: str, key: str) -> int:
        url, headers = f"{self._service.url}{path}", {"x-api-key": key}
        return self._service.client.delete(url, headers=headers).status_code

    def listed(self, key: str) -> list[str]:
        answer = self._service.get("/v1/jobs", headers={"x-api-key": key})
        return [job["id"] for job in answer.json()["jobs"]]

    def job(self, key: str, *, of: str = "") -> str:
        """Submit one, and wait until it is done. Returns: its id."""
        headers = {"x-api-key": key, **({"idempotency-key": of} if of else {})}
        answer = self._service.post(path="/v1/jobs", headers=headers)
        assert answer.status_code in (200, 202), answer.text
        found: str = answer.json()["id"]
        done = lambda: self.get(f"/v1/jobs/{found}/result", key) == 200  # noqa: E731
        wait_until(done, "done", 120, self._service)
        return found

    def is_nobodys(self, job_id: str, *keys: str) -> None:
        """It is 404 for each of these keys, whatever they try, and in no list of theirs."""
        for key in keys:
            for path in PATHS:
                assert self.get(path.format(id=job_id), key) == 404, (path, key)
            assert self.delete(f"/v1/jobs/{job_id}", key) == 404, key
            assert job_id not in self.listed(key)


@pytest.fixture
def tenants(tmp_path: Path, release: str) -> Iterator[Tenants]:
    keys = tmp_path / "keys"
    keys.write_text(f"a: {FIRST}\nb: {OTHER}\n")
    settings = {"api_keys": str(keys), "jobs": str(tmp_path / "jobs")}
    with laptop(tmp_path, release, **settings) as service:
        yield Tenants(service, keys)


def test_a_key_is_rotated_and_a_tenant_taken_away(tenants: Tenants) -> None:
    job = tenants.job(FIRST, of="order-1")
    theirs = tenants.job(OTHER, of="order-1")
    assert theirs != job
    tenants.is_nobodys(job, OTHER)
    # Both hold for a while; then the first is gone.
    tenants.allow(f"a: {FIRST}", f"a: {ROTATED}", f"b: {OTHER}")
    assert [tenants.get(path.format(id=job), ROTATED) for path in PATHS] == [200, 200]
    tenants.allow(f"a: {ROTATED}", f"b: {OTHER}")
    assert tenants.get(PATHS[0].format(id=job), FIRST) == 403
    assert tenants.job(ROTATED, of="order-1") == job
    assert tenants.listed(ROTATED) == [job]
    tenants.is_nobodys(job, OTHER)
    # All of tenant a is gone: nobody inherits it; a new key with the name has the jobs again.
    tenants.allow(f"b: {OTHER}")
    assert tenants.get(PATHS[0].format(id=job), ROTATED) == 403
    tenants.is_nobodys(job, OTHER)
    tenants.allow(f"b: {OTHER}", f"c: {FIRST}")
    tenants.is_nobodys(job, OTHER, FIRST)
    assert tenants.listed(OTHER) == [theirs]
    tenants.allow(f"a: {ROTATED}")
    assert [tenants.get(path.format(id=job), ROTATED) for path in PATHS] == [200, 200]


def test_keys_without_names_inherit_nothing(tenants: Tenants) -> None:
    """The key of a line that is taken away is nobody's, however many lines move up."""
    first, second = UNNAMED
    tenants.allow(first, second)
    jobs = {key: tenants.job(key) for key in UNNAMED}
    assert len(set(jobs.values())) == 2
    tenants.is_nobodys(jobs[first], second)
    tenants.allow(second)
    tenants.is_nobodys(jobs[first], second)
    assert tenants.listed(second) == [jobs[second]]
    tenants.allow(OTHER, second)
    tenants.is_nobodys(jobs[first], second, OTHER)
    tenants.is_nobodys(jobs[second], OTHER)
    tenants.allow(first)
    assert tenants.listed(first) == [jobs[first]]


def test_a_key_that_expires_while_it_is_used(tenants: Tenants) -> None:
    job = tenants.job(FIRST)
    yesterday = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 2 * 86_400))
    tenants.write(f"a: {FIRST} expires={yesterday}", f"b: {OTHER}")
    expired = lambda: tenants.get(PATHS[0].format(id=job), FIRST) == 403  # noqa: E731
    wait_until(expired, "expired", 60)
    tenants.is_nobodys(job, OTHER)
