# SPDX-License-Identifier: Apache-2.0
"""Every decoder of the protocol, found by looking at its modules, as a function of any bytes and a number below 256.

The number stands for the version of a message, and for whatever else the decoder is told beside the bytes.  A decoder
that is added is found; one that takes more than a `Reader` and a version needs a line in `BESIDE_READERS`, and a test
demands it.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
import struct
from functools import partial
from typing import TYPE_CHECKING, Any

from fluvio_sync import protocol
from fluvio_sync._core.metadata import kept
from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol import batch, checksum, compression, frames, metadata, primitives, produce, skimming
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.message import Message
from fluvio_sync.protocol.primitives import Reader, Writer

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Iterator

    Decoder = Callable[[bytes, int], object]

MODULES = [
    importlib.import_module(f"{protocol.__name__}.{found.name}") for found in pkgutil.iter_modules(protocol.__path__)
]

UNPACKED = 100_000
"""The most bytes that a records section may have, decompressed."""

_TAKEN = {"Buffer", "Reader"}
_STRUCT = struct.Struct(">hiIq")
_VERSIONS: list[int] = [*range(30), -1, 2**15 - 1]


def messages() -> list[type[Message]]:
    """Return every class of message."""
    return [kind for _, kind in _classes() if issubclass(kind, Message)]


def beside_readers() -> set[str]:
    """Return the names of all functions that take bytes or a Reader, but `read`, and methods of Reader and Writer."""
    return {name for name, function in _functions() if _TAKEN & _annotations(function) and not name.endswith(".read")}


def _classes() -> Iterator[tuple[str, type]]:
    for module in MODULES:
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__:
                yield f"{_short(module)}.{name}", kind


def _functions() -> Iterator[tuple[str, Any]]:
    for module in MODULES:
        for name, made in inspect.getmembers(module, inspect.isfunction):
            if made.__module__ == module.__name__ and not name.startswith("_"):
                yield f"{_short(module)}.{name}", made
    for title, kind in _classes():
        for name, member in vars(kind).items():
            function: Any = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
            if inspect.isfunction(function) and not name.startswith("_") and kind not in (Reader, Writer):
                yield f"{title}.{name}", function


def _short(module: types.ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _annotations(function: Any) -> set[str]:
    return {str(parameter.annotation) for parameter in inspect.signature(function).parameters.values()}


# --- decoders ------------------------------------------------------------------------------------


def version_of(number: int) -> int:
    """Return the version that a number stands for: itself up to 29, and some that no server has."""
    return _VERSIONS[number % len(_VERSIONS)]


def _read(kind: Any, data: bytes, number: int) -> object:
    return kind.read(Reader(data), version_of(number))


def _read_primitive(name: str, arguments: int, data: bytes, number: int) -> object:
    method = getattr(Reader(data), name)
    return method(*(_STRUCT if name == "unpack" else number for _ in range(arguments)))


def _error_code(data: bytes, number: int) -> object:
    reader = Reader(data)
    error = ErrorCode.read_payload(reader.i16(), reader, version_of(number))
    error.write(Writer(), version_of(number))
    return error.name, error.text


def _feed(data: bytes, number: int) -> object:
    reader = frames.FrameReader(max_frame=UNPACKED)
    return reader.feed(data[:number]), reader.feed(data[number:])


def _partition_name(data: bytes, number: int) -> object:
    return metadata.split_partition_key(data.decode("latin-1"))


def _skim(skimming: Any, data: bytes, number: int) -> object:
    return list(skimming(Reader(data), version_of(number), kept))


BESIDE_READERS: dict[str, Decoder] = {
    "batch.decode_batch": lambda data, number: batch.decode_batch(data, number, max_size=UNPACKED),
    "batch.decode_record_set": lambda data, _: batch.decode_record_set(data, max_size=UNPACKED),
    "batch.iter_batches": lambda data, _: list(batch.iter_batches(data)),
    "batch.iter_headers": lambda data, _: list(batch.iter_headers(data)),
    "batch.verify_batch": lambda data, _: batch.verify_batch(data, max_size=UNPACKED),
    "checksum.crc32c": checksum.crc32c,
    "checksum.crc32c_pure": checksum.crc32c_pure,
    "compression.decompress": lambda data, number: compression.decompress(number % 8, data, UNPACKED),
    "error_code.ErrorCode.read_payload": _error_code,
    "frames.FrameReader.feed": _feed,
    "frames.split_request": lambda data, _: frames.split_request(data),
    "frames.split_response": lambda data, _: frames.split_response(data),
    "metadata.TopicObject.skim": lambda data, number: metadata.TopicObject.skim(Reader(data), version_of(number)),
    "metadata.TopicSpec.skim": lambda data, number: metadata.TopicSpec.skim(Reader(data), version_of(number)),
    "metadata.TopicStatus.skim": lambda data, number: metadata.TopicStatus.skim(Reader(data), version_of(number)),
    "primitives.decode_varint": primitives.decode_varint,
    "produce.read_lone_response": lambda data, _: produce.read_lone_response(data, "t", b"t"),
    "skimming.skim_list": partial(_skim, skimming.skim_list),
    "skimming.skim_update": partial(_skim, skimming.skim_update),
}

DECODERS: dict[str, Decoder] = {
    **{
        f"{title}.read": partial(_read, kind)
        for title, kind in _classes()
        if inspect.ismethod(getattr(kind, "read", None))
    },
    **{
        f"primitives.Reader.{name}": partial(_read_primitive, name, len(inspect.signature(method).parameters) - 1)
        for name, method in inspect.getmembers(Reader, inspect.isfunction)
        if not name.startswith("_")
    },
    **BESIDE_READERS,
    "metadata.split_partition_key": _partition_name,
}
"""Every decoder, by the name of its module and its own."""


def survives(name: str, data: bytes, number: int) -> None:
    """Decode; any exception but ProtocolError is a fault."""
    with contextlib.suppress(ProtocolError):
        DECODERS[name](data, number)
