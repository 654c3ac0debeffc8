# SPDX-License-Identifier: Apache-2.0
"""The SmartModules of the development cluster: filters, without WebAssembly.

Pure.  An SPU treats the records around its modules as a real one does: all batches of an entry become one; offsets
advance by the number of incoming records, however few are left; if none is left, nothing is written, and the answer is
success at offset 0; one record at which a module fails has the whole entry rejected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluvio_sync.protocol.batch import BatchBuilder, decode_record_set, iter_batches
from fluvio_sync.protocol.checksum import crc32c
from fluvio_sync.protocol.compression import compressor
from fluvio_sync.protocol.error_code import Code, ErrorCode

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from fluvio_sync.protocol.batch import BatchHeader, Record
    from fluvio_sync.protocol.primitives import Buffer
    from fluvio_sync.protocol.smartmodules import SmartModuleInvocation

KEEP = "keep"
"""The parameter of every filter: a text; records are kept whose value, which has to be UTF-8, contains it."""

_FILTER = 0  # in the payload of SmartModuleRuntimeError
_CRC = slice(17, 21)
_AFTER_CRC = 21
_LAST_OFFSET_DELTA = slice(23, 27)


class ModuleError(Exception):
    """Raised when an entry does not pass its SmartModules.  `error`: the SPU's answer."""

    def __init__(self, code: Code, *payload: object) -> None:
        super().__init__(code)
        self.error = ErrorCode(code, payload)


def texts_of(invocations: Sequence[SmartModuleInvocation], loaded: Collection[str]) -> list[str]:
    """Return the texts for which the filters of a request keep records.

    `loaded`: the names of the modules that the cluster has.  Modules that come with the request are passed over, as by
    an SPU built without an engine.
    """
    texts = []
    for invocation in invocations:
        if invocation.name is None:
            continue
        if invocation.name not in loaded:
            raise ModuleError(Code.SMART_MODULE_NOT_FOUND, invocation.name)
        if KEEP not in invocation.params:
            raise ModuleError(Code.SMART_MODULE_INIT_ERROR, f"{invocation.name} has no parameter {KEEP!r}")
        texts.append(invocation.params[KEEP])
    return texts


def kept_batch(records: Buffer, texts: Sequence[str]) -> list[tuple[BatchHeader, memoryview]]:
    """Return the kept records of a record set as one batch, or none; ModuleError if a filter fails."""
    batches = decode_record_set(records)
    incoming = [record for batch in batches for record in batch.records]
    kept = [record for position, record in enumerate(incoming) if _is_kept(position, record, texts)]
    return list(iter_batches(_batch(kept, batches[0].header, len(incoming)))) if kept else []


def _is_kept(position: int, record: Record, texts: Sequence[str]) -> bool:
    try:
        value = record.value.decode()
    except UnicodeDecodeError as error:
        payload = (str(error.reason), position, _FILTER, record.key, record.value)
        raise ModuleError(Code.SMART_MODULE_RUNTIME_ERROR, *payload) from error
    return all(text in value for text in texts)


def _batch(records: Sequence[Record], first: BatchHeader, incoming: int) -> bytes:
    builder = BatchBuilder(min(record.timestamp for record in records))
    for record in records:
        builder.append(record.key, record.value, record.timestamp)
    data = bytearray(b"".join(builder.build(first.codec, compressor(first.codec) if first.codec else None)))
    data[_LAST_OFFSET_DELTA] = (incoming - 1).to_bytes(4, "big")
    data[_CRC] = crc32c(memoryview(data)[_AFTER_CRC:]).to_bytes(4, "big")
    return bytes(data)
