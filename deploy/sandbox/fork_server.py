"""A process that has loaded the codecs and forks a fresh copy of itself for every request.

Started as `python -m kintsugi.deploy.sandbox.fork_server FD` with a clean environment: no
credential of the service is in it. It has one thread, so that forking is safe, and is the only
one that reaps its children, so that a pid is never another's when it is killed.
"""

import gc
import json
import os
import signal
import socket
import sys
import time
import traceback

import numpy as np

from kintsugi.deploy.sandbox.worker import serve
from kintsugi.imaging.codec import encode_image
from kintsugi.imaging.encoders.deep_samples import write_deep_png
from kintsugi.imaging.formats import FORMATS
from kintsugi.imaging.heif import reads_heif
from kintsugi.imaging.photo_options import output_in
from kintsugi.imaging.photograph import open_photograph
from kintsugi.imaging.saving import save_photograph

MOST_MESSAGE_BYTES = 4096
_LOOK_SECONDS = 0.005


def main(fd: int) -> None:
    """Fork and kill as the service asks, one after the other, until it closes the socket."""
    # Ctrl-C is for the service, which ends this one by closing the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _load_codecs()
    # What is here stays shared with every child: the collector must not write to it.
    gc.collect()
    gc.freeze()
    control = socket.socket(fileno=fd)
    control.send(b"{}")
    children: dict[int, int] = {}
    while True:
        data, fds, _, _ = socket.recv_fds(control, MOST_MESSAGE_BYTES, 1)
        if not data:
            os._exit(0)
        message = json.loads(data)
        reply = {}
        if "fork" in message:
            children[message["fork"]] = _fork(control, fds[0])
        else:
            reply["status"] = _end(children.pop(message["end"]), message["grace"])
        control.send(json.dumps(reply).encode())


def _fork(control: socket.socket, fd: int) -> int:
    pid = os.fork()
    if pid:
        os.close(fd)
        return pid
    try:
        control.close()
        with socket.socket(fileno=fd) as sock:
            serve(sock)
        os._exit(0)
    finally:
        # Never on to what the parent would do.
        traceback.print_exc()
        os._exit(1)


def _end(pid: int, grace: float) -> int:
    """How a child ended, as `os.waitpid` says it; one that has not by then is killed."""
    give_up = time.monotonic() + grace
    while time.monotonic() < give_up:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        time.sleep(_LOOK_SECONDS)
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def _load_codecs() -> None:
    """Read and write each format once: what loads late would be loaded by every child."""
    eight = np.zeros((64, 64, 3), np.uint8)
    png = open_photograph(encode_image(eight))
    for format in FORMATS:
        if format != "heif" or reads_heif():
            open_photograph(save_photograph(png, eight, output_in(format)).body)
    deep = open_photograph(write_deep_png(np.zeros((64, 64, 3), np.uint16)))
    save_photograph(deep, deep.seen)


if __name__ == "__main__":
    main(int(sys.argv[1]))
