# SPDX-License-Identifier: Apache-2.0
"""Error codes: payloads, names and texts; test_roundtrip has their bytes."""

from __future__ import annotations

import pytest

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.error_code import PLAIN_CODES, Code, ErrorCode
from fluvio_sync.protocol.primitives import Reader

PAYLOADS: dict[int, tuple[object, ...]] = {
    **dict.fromkeys([2, 3003, 6001, 6005, 6006, 6007, 8001, 8003, 10001], ("a text",)),
    **dict.fromkeys([6002, 6003, 12001, 12002], ("a text", "another")),
    7: (1500, 0),
    71: (-1, 10),
    72: ("orders", 3),
    6004: ("hint", 7, 1, b"secret key", b"secret value"),
    6008: (2**64 - 1, 1000),
}


@pytest.mark.parametrize("tag", Code)
def test_every_code_has_its_payload_and_a_text_that_shows_no_record(tag: Code) -> None:
    code = ErrorCode(int(tag), PAYLOADS.get(tag, ()))
    assert code.text
    assert "{" not in code.text
    assert "secret" not in code.text + repr(code) + str(code)


def test_a_code_without_a_payload_is_read_as_its_one_instance() -> None:
    for tag in set(Code) - set(PAYLOADS):
        assert ErrorCode.read(Reader(tag.to_bytes(2, "big", signed=True)), 25) is PLAIN_CODES[tag]
    assert PLAIN_CODES[0] is ErrorCode.NONE


def test_names() -> None:
    names = {-1: "UnknownServerError", 0: "None", 6: "NotLeaderForPartition", 1001: "SpuRegisterationFailed"}
    assert {tag: ErrorCode(tag).name for tag in names} == names


@pytest.mark.parametrize("tag", [3, 57, 12003, -2])
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
    assert ErrorCode(2, ("{0} {x}",)).text == "{0} {x}"
    assert "within 1500 ms" in ErrorCode(7, PAYLOADS[7]).text
    assert "partition 3 of topic 'orders'" in ErrorCode(72, PAYLOADS[72]).text
    assert "offset 7" in ErrorCode(6004, PAYLOADS[6004]).text
    assert "does not name" in ErrorCode(6002, ("no such export", None)).text


@pytest.mark.parametrize("tag", Code)
def test_a_text_says_nothing_that_the_server_did_not(tag: Code) -> None:
    """Texts and names may be empty or missing."""
    parts = PAYLOADS.get(tag, ())
    empty = tuple("" if isinstance(part, str) else part for part in parts)
    optional = {6002: ("", None), 6004: ("", 7, 1, None, b"")}
    text = ErrorCode(int(tag), optional.get(int(tag), empty)).text
    assert text
    assert "None" not in text


@pytest.mark.parametrize("tag", PAYLOADS)
def test_a_text_is_one_line_of_bounded_length(tag: int) -> None:
    parts = tuple("a\x1b[2J\r\n\u202e" + "x" * 30_000 if isinstance(part, str) else part for part in PAYLOADS[tag])
    codes = [ErrorCode(tag, parts)] + [ErrorCode(6002, (parts[0], None))] * (tag == 6002)
    for text in [code.text for code in codes]:
        assert text.isprintable()
        assert len(text) <= 500
        assert (r"a\x1b[2J\r\n\u202exxx" in text) is any(isinstance(part, str) for part in parts)
