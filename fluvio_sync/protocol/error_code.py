# SPDX-License-Identifier: Apache-2.0
"""Fluvio's error codes: a 2-byte tag, then a payload that depends on it.

Pure.  A code is no plain number: after an unknown tag nothing can be read, because the length of
its payload is unknown too.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, ClassVar

from fluvio_sync._base.text import printable
from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.layout import I64, STRING, U8, U32, U64, VARBYTES, option
from fluvio_sync.protocol.message import Message, apart, nested

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluvio_sync.protocol.layout import Layout
    from fluvio_sync.protocol.primitives import Reader, Writer


class Code(enum.IntEnum):
    """The tags."""

    UNKNOWN_SERVER_ERROR = -1
    NONE = 0
    OFFSET_OUT_OF_RANGE = 1
    OTHER = 2
    NOT_LEADER_FOR_PARTITION = 6
    REQUEST_TIMED_OUT = 7
    MESSAGE_TOO_LARGE = 10
    PERMISSION_DENIED = 13
    STORAGE_ERROR = 56
    INVALID_CREATE_REQUEST = 60
    INVALID_DELETE_REQUEST = 61
    OFFSET_EVICTED = 71
    PARTITION_FULL = 72
    PARTITION_SHORT_CIRCUITED = 73
    SPU_ERROR = 1000
    SPU_REGISTERATION_FAILED = 1001
    SPU_OFFLINE = 1002
    SPU_NOT_FOUND = 1003
    SPU_ALREADY_EXISTS = 1004
    TOPIC_ERROR = 2000
    TOPIC_NOT_FOUND = 2001
    TOPIC_ALREADY_EXISTS = 2002
    TOPIC_PENDING_INITIALIZATION = 2003
    TOPIC_INVALID_CONFIGURATION = 2004
    TOPIC_NOT_PROVISIONED = 2005
    TOPIC_INVALID_NAME = 2006
    TOPIC_DELETED = 2007
    TOPIC_INVALID_REPLICA_TYPE = 2008
    PARTITION_PENDING_INITIALIZATION = 3000
    PARTITION_NOT_LEADER = 3001
    FETCH_SESSION_NOT_FOUD = 3002  # sic
    OFFSET_FLUSH_REQUEST_ERROR = 3003
    OFFSET_MANAGEMENT_DISABLED = 3004
    MAX_RETRY_REACHED = 3005
    MANAGED_CONNECTOR_ERROR = 5000
    MANAGED_CONNECTOR_NOT_FOUND = 5001
    MANAGED_CONNECTOR_ALREADY_EXISTS = 5002
    SMART_MODULE_ERROR = 6000
    SMART_MODULE_NOT_FOUND = 6001
    SMART_MODULE_INVALID = 6002
    SMART_MODULE_INVALID_EXPORTS = 6003
    SMART_MODULE_RUNTIME_ERROR = 6004
    SMART_MODULE_CHAIN_INIT_ERROR = 6005
    SMART_MODULE_INIT_ERROR = 6006
    SMART_MODULE_LOOK_BACK_ERROR = 6007
    SMART_MODULE_MEMORY_LIMIT_EXCEEDED = 6008
    TABLE_FORMAT_ERROR = 7000
    TABLE_FORMAT_NOT_FOUND = 7001
    TABLE_FORMAT_ALREADY_EXISTS = 7002
    DERIVED_STREAM_OBJECT_ERROR = 8000
    DERIVED_STREAM_NOT_FOUND = 8001
    DERIVED_STREAM_JOIN_FETCH_ERROR = 8002
    DERIVED_STREAM_INVALID = 8003
    COMPRESSION_ERROR = 9000
    DEDUPLICATION_SMART_MODULE_NOT_LOADED = 10000
    DEDUPLICATION_SMART_MODULE_NAME_INVALID = 10001
    MIRROR_NOT_FOUND = 11001
    MIRROR_ALREADY_EXISTS = 11002
    MIRROR_PRODUCE_FROM_HOME = 11003
    MIRROR_DELETE_FROM_REMOTE = 11004
    MIRROR_INVALID_TYPE = 11005
    MIRROR_PRODUCE_FROM_REMOTE_NOT_ALLOWED = 11006
    SYSTEM_SPEC_DELETION_ATTEMPT = 12001
    SYSTEM_SPEC_UPDATING_ATTEMPT = 12002


_OPTIONAL_STRING = option(STRING)
_OPTIONAL_DATA = option(VARBYTES)

_PAYLOADS: Mapping[int, tuple[Layout[Any], ...]] = {
    Code.OTHER: (STRING,),
    Code.REQUEST_TIMED_OUT: (U64, U8),
    Code.OFFSET_EVICTED: (I64, I64),
    Code.PARTITION_FULL: (STRING, U32),
    Code.OFFSET_FLUSH_REQUEST_ERROR: (STRING,),
    Code.SMART_MODULE_NOT_FOUND: (STRING,),
    Code.SMART_MODULE_INVALID: (STRING, _OPTIONAL_STRING),
    Code.SMART_MODULE_INVALID_EXPORTS: (STRING, STRING),
    Code.SMART_MODULE_RUNTIME_ERROR: (STRING, I64, U8, _OPTIONAL_DATA, VARBYTES),
    Code.SMART_MODULE_CHAIN_INIT_ERROR: (STRING,),
    Code.SMART_MODULE_INIT_ERROR: (STRING,),
    Code.SMART_MODULE_LOOK_BACK_ERROR: (STRING,),
    Code.SMART_MODULE_MEMORY_LIMIT_EXCEEDED: (U64, U64),
    Code.DERIVED_STREAM_NOT_FOUND: (STRING,),
    Code.DERIVED_STREAM_INVALID: (STRING,),
    Code.DEDUPLICATION_SMART_MODULE_NAME_INVALID: (STRING,),
    Code.SYSTEM_SPEC_DELETION_ATTEMPT: (STRING, STRING),
    Code.SYSTEM_SPEC_UPDATING_ATTEMPT: (STRING, STRING),
}

_TEXTS: Mapping[int, str] = {
    Code.UNKNOWN_SERVER_ERROR: "the server failed for a reason it does not know",
    Code.NONE: "no error",
    Code.OFFSET_OUT_OF_RANGE: "the offset is out of range",
    Code.OTHER: "{0}",
    Code.NOT_LEADER_FOR_PARTITION: ("the SPU does not lead the partition, or knows no such topic or partition"),
    Code.REQUEST_TIMED_OUT: ("the records were written, but not replicated within {0} ms (request kind {1})"),
    Code.MESSAGE_TOO_LARGE: "the batch is larger than the topic's segment or the SPU's limit",
    Code.PERMISSION_DENIED: "permission denied",
    Code.STORAGE_ERROR: "the SPU failed to write to its storage",
    Code.INVALID_CREATE_REQUEST: "the creation request is invalid",
    Code.INVALID_DELETE_REQUEST: "the deletion request is invalid",
    Code.OFFSET_EVICTED: "offset {0} is no longer kept; the next that is: {1}",
    Code.PARTITION_FULL: "partition {1} of topic {0!r} is full",
    Code.PARTITION_SHORT_CIRCUITED: (
        "the partition refuses writes after a failed one, until its SPU restarts or its leader moves"
    ),
    Code.SPU_ERROR: "the SPU failed",
    Code.SPU_REGISTERATION_FAILED: "the SPU could not be registered",
    Code.SPU_OFFLINE: "the SPU is offline",
    Code.SPU_NOT_FOUND: "the SPU was not found",
    Code.SPU_ALREADY_EXISTS: "the SPU exists already",
    Code.TOPIC_ERROR: "the topic is in error",
    Code.TOPIC_NOT_FOUND: "the topic was not found",
    Code.TOPIC_ALREADY_EXISTS: "the topic exists already",
    Code.TOPIC_PENDING_INITIALIZATION: "the topic is not initialized yet",
    Code.TOPIC_INVALID_CONFIGURATION: "the topic's configuration is invalid",
    Code.TOPIC_NOT_PROVISIONED: "the topic was created, but not all its partitions are provisioned",
    Code.TOPIC_INVALID_NAME: "the topic's name is invalid",
    Code.TOPIC_DELETED: "the topic was deleted",
    Code.TOPIC_INVALID_REPLICA_TYPE: "the topic's kind of replicas does not allow that",
    Code.PARTITION_PENDING_INITIALIZATION: "the partition is not initialized yet",
    Code.PARTITION_NOT_LEADER: "the SPU does not lead the partition",
    Code.FETCH_SESSION_NOT_FOUD: "there is no such fetch session",
    Code.OFFSET_FLUSH_REQUEST_ERROR: "the offsets could not be flushed: {0}",
    Code.OFFSET_MANAGEMENT_DISABLED: "offset management is disabled",
    Code.MAX_RETRY_REACHED: "the retries are used up",
    Code.MANAGED_CONNECTOR_ERROR: "the managed connector failed",
    Code.MANAGED_CONNECTOR_NOT_FOUND: "the managed connector was not found",
    Code.MANAGED_CONNECTOR_ALREADY_EXISTS: "the managed connector exists already",
    Code.SMART_MODULE_ERROR: "the SmartModule failed",
    Code.SMART_MODULE_NOT_FOUND: "the cluster has no SmartModule {0!r}",
    Code.SMART_MODULE_INVALID: "the SmartModule {1!r} is invalid: {0}",
    Code.SMART_MODULE_INVALID_EXPORTS: "the SmartModule is no {1}: {0}",
    # The record itself (payload 3 and 4) is the user's data and stays out of texts and logs.
    Code.SMART_MODULE_RUNTIME_ERROR: "the SmartModule failed at the record of offset {1}: {0}",
    Code.SMART_MODULE_CHAIN_INIT_ERROR: "the chain of SmartModules could not be made: {0}",
    Code.SMART_MODULE_INIT_ERROR: "the SmartModule could not be initialized: {0}",
    Code.SMART_MODULE_LOOK_BACK_ERROR: "the SmartModule's look-back failed: {0}",
    Code.SMART_MODULE_MEMORY_LIMIT_EXCEEDED: ("the SmartModule asked for {0} bytes of memory; the limit is {1}"),
    Code.TABLE_FORMAT_ERROR: "the table format failed",
    Code.TABLE_FORMAT_NOT_FOUND: "the table format was not found",
    Code.TABLE_FORMAT_ALREADY_EXISTS: "the table format exists already",
    Code.DERIVED_STREAM_OBJECT_ERROR: "the derived stream failed",
    Code.DERIVED_STREAM_NOT_FOUND: "the cluster has no derived stream {0!r}",
    Code.DERIVED_STREAM_JOIN_FETCH_ERROR: "the derived stream's join could not be fetched",
    Code.DERIVED_STREAM_INVALID: "the derived stream {0!r} is invalid",
    Code.COMPRESSION_ERROR: "the batch's compression is unknown or not the one the topic requires",
    Code.DEDUPLICATION_SMART_MODULE_NOT_LOADED: "the deduplication SmartModule is not loaded",
    Code.DEDUPLICATION_SMART_MODULE_NAME_INVALID: ("the name of the deduplication SmartModule is invalid: {0}"),
    Code.MIRROR_NOT_FOUND: "the mirror was not found",
    Code.MIRROR_ALREADY_EXISTS: "the mirror exists already",
    Code.MIRROR_PRODUCE_FROM_HOME: "the home of a mirror topic cannot be produced to",
    Code.MIRROR_DELETE_FROM_REMOTE: "a mirror topic cannot be deleted from its remote side",
    Code.MIRROR_INVALID_TYPE: "the mirror's type is invalid",
    Code.MIRROR_PRODUCE_FROM_REMOTE_NOT_ALLOWED: ("the remote side of this mirror topic cannot be produced to"),
    Code.SYSTEM_SPEC_DELETION_ATTEMPT: "the system {0} {1!r} can only be deleted by force",
    Code.SYSTEM_SPEC_UPDATING_ATTEMPT: "the system {0} {1!r} can only be updated by force",
}

_NAMES: Mapping[int, str] = {int(code): "".join(word.capitalize() for word in code.name.split("_")) for code in Code}


def name_of(code: int) -> str:
    """Return Fluvio's name of a code, e.g. `"TopicAlreadyExists"`; ValueError for one that it does not have."""
    if code not in _NAMES:
        raise ValueError(f"Fluvio has no error code {code}")
    return _NAMES[code]


class ErrorCode(Message):
    """A code and its payload.

    `payload` by tag, in the order of the wire:

    * 2, 3003, 6005, 6006, 6007, 8001, 8003, 10001: a text or a name
    * 7 RequestTimedOut: timeout in milliseconds, kind of request (0: produce)
    * 71 OffsetEvicted: offset, next offset that is available
    * 72 PartitionFull: topic, partition
    * 6001 SmartModuleNotFound: name
    * 6002 SmartModuleInvalid: error, name or None
    * 6003 SmartModuleInvalidExports: error, kind
    * 6004 SmartModuleRuntimeError: hint, offset, kind, record's key or None, record's value
    * 6008 SmartModuleMemoryLimitExceeded: bytes asked for, limit
    * 12001, 12002: kind of object, name
    * any other: empty

    ValueError for an unknown code or a payload with the wrong number of parts.
    """

    code: int = apart(min_size=2)
    payload: tuple[object, ...] = apart(default=(), repr=False)  # it may hold a record

    NONE: ClassVar[ErrorCode]

    def check(self) -> None:
        """ValueError for an unknown code or a payload with the wrong number of parts."""
        name_of(self.code)
        expected = len(_PAYLOADS.get(self.code, ()))
        if len(self.payload) != expected:
            raise ValueError(f"the payload of {self.name} has {expected} parts, not {len(self.payload)}")

    @property
    def name(self) -> str:
        """Fluvio's name of the code, e.g. `"TopicAlreadyExists"`; `"None"` is success."""
        return name_of(self.code)

    @property
    def text(self) -> str:
        """The meaning for a person: the payload as far as it can be shown, and without any record's contents."""
        if self.code == Code.SMART_MODULE_INVALID and self.payload[1] is None:
            return printable(f"a SmartModule, which the server does not name, is invalid: {self.payload[0]}")
        return printable(_TEXTS[self.code].format(*self.payload)) or "the server gives no reason"

    def write(self, w: Writer, version: int) -> None:
        """Append it; it has no version gates."""
        w.i16(self.code)
        for layout, value in zip(_PAYLOADS.get(self.code, ()), self.payload, strict=True):
            layout.write(w, value, version)

    @classmethod
    def read(cls, r: Reader, version: int) -> ErrorCode:
        """Read one; ProtocolError for an unknown tag."""
        return cls.read_payload(r.i16(), r, version)

    @classmethod
    def read_payload(cls, tag: int, r: Reader, version: int) -> ErrorCode:
        """Read the payload after `tag`; ProtocolError if it is unknown."""
        plain = PLAIN_CODES.get(tag)
        if plain is not None:
            return plain
        layouts = _PAYLOADS.get(tag)
        if layouts is None:
            raise ProtocolError(f"unknown error code {tag}: its payload cannot be read")
        return cls(tag, tuple([layout.read(r, version) for layout in layouts]))


PLAIN_CODES: Mapping[int, ErrorCode] = {int(code): ErrorCode(int(code)) for code in Code if code not in _PAYLOADS}
"""One instance of every code without a payload, by its tag."""

ErrorCode.NONE = PLAIN_CODES[Code.NONE]

ERROR_CODE: Layout[ErrorCode] = nested(ErrorCode)
"""Its layout, for the messages that hold one."""
