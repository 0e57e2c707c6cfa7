"""The corpus of bad requests, behind the edge: each refused, and hardly any memory taken."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2

from kintsugi.benchmarks.serve.memory import tree_bytes
from kintsugi.deploy.http.problems import ProblemDocument
from tests.deploy.conftest import MASK, PHOTO, encode
from tests.deploy.edge import edge
from tests.deploy.http import bad_files
from tests.faults.conftest import FAULTS
from tests.faults.serving import Service

pytestmark = FAULTS

Note = Callable[[str, float], None]

# Above that of a service that waits.
MOST_BYTES = 300 * 2**20
SIDE_BY_SIDE = 4


@contextmanager
def memory_watched(pid: int) -> Iterator[list[int]]:
    """Resident bytes of a process and all that it started, ten times a second."""
    seen, ended = [tree_bytes(pid)], threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            seen.append(tree_bytes(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def drip(size: int) -> Iterator[bytes]:
    """A body that does not say how long it is."""
    yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    for _ in range(size // 2**20):
        yield bytes(2**20)


def test_bad_requests_are_refused_in_little_memory(
    service: Service, took: Note, tmp_path: Path
) -> None:
    mask, photo = encode(MASK), encode(PHOTO)
    images = {
        **bad_files.other_formats(),
        **bad_files.broken_files(),
        **bad_files.bombs(),
    }
    animated = bad_files.animated()
    form = {"content-type": "multipart/form-data; boundary=x"}
    with edge(tmp_path, int(service.url.rpartition(":")[2]), {}) as port:
        url = f"http://127.0.0.1:{port}/v1/inpaint"

        def send(kind: str) -> httpx2.Response:
            files = {"image": ("a", (images | animated)[kind]), "mask": ("b", mask)}
            return httpx2.post(url, files=files, timeout=60)

        def send_bomb_as_mask(kind: str) -> httpx2.Response:
            files = {"image": ("a", photo), "mask": ("b", bad_files.bombs()[kind])}
            return httpx2.post(url, files=files, timeout=60)

        def send_much(size: int) -> httpx2.Response:
            return httpx2.post(url, content=drip(size), headers=form, timeout=60)

        # What is loaded with the first request stays.
        assert send("PNG cut").status_code == 422
        with memory_watched(service.raylet) as seen, ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            answers = [
                *pool.map(send, 3 * list(images)),
                *pool.map(send_bomb_as_mask, 3 * list(bad_files.bombs())),
                *pool.map(send_much, [400 * 2**20] * 2),
            ]
        # Of 30 pictures the first is filled. Afterwards: fills take memory of their own.
        firsts = [send(kind) for kind in animated]
    assert len(answers) >= 80
    for answer in answers:
        assert answer.status_code in (413, 415, 422), answer.text
        assert ProblemDocument.model_validate(answer.json()).status == answer.status_code
        assert "Traceback" not in answer.text
    assert [answer.status_code for answer in answers[-2:]] == [413, 413]
    assert [answer.status_code for answer in firsts] == [200] * len(firsts)
    grown = max(seen) - seen[0]
    took("memory above idle under bad requests, MiB", grown / 2**20)
    assert grown < MOST_BYTES
