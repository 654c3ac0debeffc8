# SPDX-License-Identifier: Apache-2.0
"""Error codes: every tag, its payload, its name and its text."""

from __future__ import annotations

import pytest

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.error_code import PLAIN_CODES, Code, ErrorCode
from fluvio_sync.protocol.primitives import Reader, Writer

WITH_PAYLOAD = [
    ErrorCode(2, ("boom",)),
    ErrorCode(7, (1500, 0)),
    ErrorCode(71, (-1, 10)),
    ErrorCode(72, ("orders", 3)),
    ErrorCode(3003, ("disk",)),
    ErrorCode(6001, ("my-filter",)),
    ErrorCode(6002, ("bad magic", "my-filter")),
    ErrorCode(6002, ("bad magic", None)),
    ErrorCode(6003, ("no export", "filter")),
    ErrorCode(6004, ("hint", 7, 1, b"secret key", b"secret value")),
    ErrorCode(6004, ("hint", 7, 6, None, b"")),
    ErrorCode(6005, ("chain",)),
    ErrorCode(6006, ("init",)),
    ErrorCode(6007, ("look back",)),
    ErrorCode(6008, (2**64 - 1, 1000)),
    ErrorCode(8001, ("stream",)),
    ErrorCode(8003, ("stream",)),
    ErrorCode(10001, ("dedup",)),
    ErrorCode(12001, ("topic", "consumer-offset")),
    ErrorCode(12002, ("topic", "consumer-offset")),
]

PLAIN = sorted(set(Code) - {code.code for code in WITH_PAYLOAD})


def encoded(code: ErrorCode) -> bytes:
    w = Writer()
    code.write(w, 25)
    return w.getvalue()


@pytest.mark.parametrize("tag", PLAIN)
def test_a_plain_code(tag: int) -> None:
    data = encoded(ErrorCode(tag))
    assert data == tag.to_bytes(2, "big", signed=True)
    code = ErrorCode.read(Reader(data), 25)
    assert code is PLAIN_CODES[tag]
    assert code == ErrorCode(tag)
    assert "{" not in code.text
    assert code.text


def test_names() -> None:
    names = {-1: "UnknownServerError", 6: "NotLeaderForPartition", 1001: "SpuRegisterationFailed", 56: "StorageError"}
    assert {tag: ErrorCode(tag).name for tag in names} == names


@pytest.mark.parametrize("code", WITH_PAYLOAD)
def test_a_code_with_a_payload(code: ErrorCode) -> None:
    data = encoded(code)
    reader = Reader(data + b"rest")
    assert ErrorCode.read(reader, 25) == code
    assert bytes(reader.rest()) == b"rest"
    for length in range(len(data)):
        with pytest.raises(ProtocolError):
            ErrorCode.read(Reader(data[:length]), 25)
    assert code.text
    assert "{" not in code.text


@pytest.mark.parametrize("tag", [3, 5, 8, 57, 999, 6009, 12003, -2, 32767, -32768])
def test_an_unknown_tag(tag: int) -> None:
    with pytest.raises(ProtocolError, match=f"unknown error code {tag}"):
        ErrorCode.read(Reader(tag.to_bytes(2, "big", signed=True) + bytes(100)), 25)
    with pytest.raises(ValueError, match="no error code"):
        ErrorCode(tag)


def test_a_payload_of_the_wrong_size() -> None:
    with pytest.raises(ValueError, match="RequestTimedOut has 2 parts, not 0"):
        ErrorCode(7)
    with pytest.raises(ValueError, match="NotLeaderForPartition has 0 parts, not 1"):
        ErrorCode(6, (1,))


def test_texts_with_payloads() -> None:
    assert ErrorCode(2, ("boom",)).text == "boom"
    assert "within 1500 ms" in ErrorCode(7, (1500, 0)).text
    assert "partition 3 of topic 'orders'" in ErrorCode(72, ("orders", 3)).text
    assert "offset 7" in ErrorCode(6004, ("hint", 7, 1, None, b"")).text


def test_texts_and_reprs_keep_records_to_themselves() -> None:
    code = ErrorCode(6004, ("hint", 7, 1, b"secret key", b"secret value"))
    assert "secret" not in code.text + repr(code) + str(code)


def test_a_text_with_braces_is_not_a_template() -> None:
    assert ErrorCode(2, ("{0} {x}",)).text == "{0} {x}"


def test_success() -> None:
    assert ErrorCode(0) == ErrorCode.NONE
    assert ErrorCode.NONE.name == "None"
    assert ErrorCode.NONE.code == int(Code.NONE)
