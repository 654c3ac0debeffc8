# SPDX-License-Identifier: Apache-2.0
"""ApiVersions and the choice of a version."""

from __future__ import annotations

import pytest

from fluvio_sync.errors import UnsupportedVersionError
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.primitives import Reader, Writer
from fluvio_sync.protocol.versions import (
    SC_CLIENT_RANGES,
    SPU_CLIENT_RANGES,
    ApiVersionKey,
    ApiVersionsRequest,
    ApiVersionsResponse,
    ScApi,
    SpuApi,
    negotiate,
)


def server(*keys: tuple[int, int, int], platform: str = "0.18.1") -> ApiVersionsResponse:
    return ApiVersionsResponse(ErrorCode.NONE, tuple(ApiVersionKey(*key) for key in keys), platform)


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [((0, 25), 25), ((0, 24), 24), ((0, 8), 8), ((25, 25), 25), ((8, 99), 25), ((25, 99), 25)],
)
def test_the_lower_of_the_highest(theirs: tuple[int, int], expected: int) -> None:
    ours = SPU_CLIENT_RANGES[SpuApi.PRODUCE]
    assert ours == (8, 25)
    answer = server((1, 0, 3), (0, *theirs))
    assert negotiate("Produce", SpuApi.PRODUCE, ours, answer) == expected


@pytest.mark.parametrize("theirs", [(0, 7), (26, 30)])
def test_ranges_that_do_not_meet(theirs: tuple[int, int]) -> None:
    with pytest.raises(UnsupportedVersionError) as caught:
        negotiate("Produce", SpuApi.PRODUCE, (8, 25), server((0, *theirs)))
    assert caught.value.api == "Produce"
    assert caught.value.ours == (8, 25)
    assert caught.value.theirs == theirs
    assert caught.value.platform == "0.18.1"


def test_a_request_that_is_not_listed() -> None:
    with pytest.raises(UnsupportedVersionError, match="does not know it") as caught:
        negotiate("Watch", ScApi.WATCH, SC_CLIENT_RANGES[ScApi.WATCH], server((1001, 12, 19)))
    assert caught.value.theirs is None


def test_version_0_of_the_handshake_is_empty() -> None:
    request = ApiVersionsRequest("0.50.2", "linux", "x86_64")
    w = Writer()
    request.write(w, 0)
    assert w.getvalue() == b""
    assert ApiVersionsRequest.read(Reader(b""), 0) == ApiVersionsRequest("", "", "")
    request.write(w, 1)
    assert ApiVersionsRequest.read(Reader(w.getvalue()), 1) == request
