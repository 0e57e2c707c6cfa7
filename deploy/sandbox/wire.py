"""Messages between the service and a codec process: JSON and bytes, never pickle.

What a process that opened a hostile file sends back is believed no more than the file.
"""

import json
import socket
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_LENGTH = struct.Struct(">Q")
_MOST_JSON_BYTES = 2**20

Blob = bytes | bytearray | memoryview
Message = tuple[dict[str, Any], list[bytearray]]


class BrokenMessage(Exception):
    """What came is no message: the other side died, or is not what it was."""


def send_message(sock: socket.socket, head: dict[str, Any], blobs: Sequence[Blob] = ()) -> None:
    """Send one message. Raises: OSError when the other side is gone."""
    lengths = [memoryview(blob).nbytes for blob in blobs]
    text = json.dumps({**head, "blobs": lengths}).encode()
    sock.sendall(_LENGTH.pack(len(text)) + text)
    for blob in blobs:
        sock.sendall(memoryview(blob).cast("B"))


def receive_message(sock: socket.socket, most_bytes: int) -> Message:
    """Receive one message.

    Args:
        sock: From where.
        most_bytes: The limit for all its blobs; more is an error before any memory is taken.

    Raises:
        BrokenMessage: It is none, is too large, or ended early.
        OSError: As the socket raises it.
    """
    (length,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size))
    if length > _MOST_JSON_BYTES:
        raise BrokenMessage(f"a head of {length} bytes")
    try:
        head = json.loads(_exactly(sock, length))
        lengths = [int(one) for one in head.pop("blobs")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenMessage("its head is not JSON") from error
    if any(one < 0 for one in lengths) or sum(lengths) > most_bytes:
        raise BrokenMessage(f"{sum(lengths)} bytes, the limit is {most_bytes}")
    return head, [_exactly(sock, one) for one in lengths]


def array(blob: bytearray, shape: Sequence[int]) -> npt.NDArray[np.uint8]:
    """A blob as uint8 of a shape; may be written to. Raises: BrokenMessage."""
    flat = np.frombuffer(blob, np.uint8)
    if flat.size != np.prod(shape, dtype=np.int64):
        raise BrokenMessage(f"{flat.size} bytes are no array of {tuple(shape)}")
    return flat.reshape(tuple(shape))


def samples(
    blob: bytearray, shape: Sequence[int], bits: int
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """A blob as uint8 or uint16 of a shape; may be written to. Raises: BrokenMessage."""
    if bits == 8:
        return array(blob, shape)
    flat = array(blob, (2 * int(np.prod(shape, dtype=np.int64)),))
    return flat.view(np.uint16).reshape(tuple(shape))


def contents(pixels: npt.NDArray[Any]) -> memoryview:
    """The bytes of an array, in C order and in this machine's byte order."""
    return np.ascontiguousarray(pixels).view(np.uint8).data.cast("B")


def _exactly(sock: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        received = sock.recv_into(view)
        if not received:
            raise BrokenMessage("it ended early")
        view = view[received:]
    return data
