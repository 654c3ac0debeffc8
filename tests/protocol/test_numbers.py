# SPDX-License-Identifier: Apache-2.0
"""The numbers of the wire, once more and by hand: both sides of a round trip would share a wrong one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fluvio_sync.protocol.compression import Codec
from fluvio_sync.protocol.metadata import (
    Encryption,
    PartitionResolution,
    SpuResolution,
    SpuType,
    TopicCompression,
    TopicResolution,
)
from fluvio_sync.protocol.produce import IsolationCode
from fluvio_sync.protocol.smartmodules import ModuleContext, ModuleKind
from fluvio_sync.protocol.versions import (
    API_VERSIONS,
    API_VERSIONS_VERSION,
    SC_CLIENT_RANGES,
    SPU_CLIENT_RANGES,
    ScApi,
    SpuApi,
)

if TYPE_CHECKING:
    import enum

NUMBERS: dict[type[enum.IntEnum], str] = {
    Codec: "NONE 0, GZIP 1, SNAPPY 2, LZ4 3, ZSTD 4",
    TopicCompression: "NONE 0, GZIP 1, SNAPPY 2, LZ4 3, ANY 4, ZSTD 5",
    TopicResolution: "INIT 0, PENDING 1, INSUFFICIENT_RESOURCES 2, INVALID_CONFIG 3, PROVISIONED 4, DELETING 5",
    PartitionResolution: "OFFLINE 0, ONLINE 1, LEADER_OFFLINE 2, ELECTION_LEADER_FOUND 3, OUT_OF_STORAGE 4",
    SpuResolution: "ONLINE 0, OFFLINE 1, INIT 2",
    SpuType: "MANAGED 0, CUSTOM 1",
    Encryption: "PLAINTEXT 0, SSL 1",
    IsolationCode: "READ_UNCOMMITTED 1, READ_COMMITTED -1",
    ModuleKind: "FILTER 0, MAP 1, ARRAY_MAP 2, AGGREGATE 3, FILTER_MAP 4, JOIN 5, JOIN_STREAM 6, GENERIC 7",
    ModuleContext: "NONE 0, AGGREGATE 1, JOIN 2, JOIN_STREAM 3",
    ScApi: "CREATE 1001, DELETE 1002, LIST 1003, WATCH 1004, MIRRORING 1005, UPDATE 1006",
    SpuApi: (
        "PRODUCE 0, FETCH 1, FETCH_OFFSETS 1002, STREAM_FETCH 1003, UPDATE_OFFSETS 1005, UPDATE_CONSUMER_OFFSET 1006, "
        "DELETE_CONSUMER_OFFSET 1007, FETCH_CONSUMER_OFFSETS 1008"
    ),
}


@pytest.mark.parametrize("numbers", NUMBERS)
def test_an_enumeration_has_the_numbers_of_the_wire(numbers: type[enum.IntEnum]) -> None:
    assert ", ".join(f"{member.name} {member.value}" for member in numbers) == NUMBERS[numbers]


def test_the_versions_that_are_spoken() -> None:
    assert (API_VERSIONS, API_VERSIONS_VERSION) == (18, 2)
    assert dict(SC_CLIENT_RANGES) == dict.fromkeys([1001, 1002, 1003, 1004, 1006], (12, 19))
    assert dict(SPU_CLIENT_RANGES) == {
        0: (8, 25),
        1: (11, 25),
        1002: (23, 25),
        1003: (23, 25),
        1005: (0, 0),
        1006: (24, 25),
        1007: (24, 25),
        1008: (24, 25),
    }
