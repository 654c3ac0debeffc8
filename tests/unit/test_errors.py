# SPDX-License-Identifier: Apache-2.0
"""The tree of errors."""

from __future__ import annotations

import concurrent.futures
import copy
import inspect
import pickle
from typing import Any

import pytest

from fluvio_sync import errors
from fluvio_sync.errors import FluvioError

DELIVERY: dict[str, Any] = {
    "topic": "orders",
    "partition": 3,
    "attempts": 5,
    "elapsed": 1.25,
    "retriable": True,
    "may_be_stored": True,
}

SAMPLES: dict[str, FluvioError] = {
    type(error).__name__: error
    for error in (
        FluvioError("text"),
        errors.ConfigError("text"),
        errors.ClosedError("text"),
        errors.ConnectError("text", address="host:9003"),
        errors.ConnectTimeoutError("text", address="host:9003"),
        errors.RequestTimeoutError("text"),
        errors.UnsupportedVersionError("text", api="Produce", ours=(8, 25), theirs=(0, 7), platform="0.9.0"),
        errors.ProtocolError("text"),
        errors.TopicNotFoundError("text", topic="orders"),
        errors.PartitionNotFoundError("text", topic="orders", partition=3),
        errors.MetadataTimeoutError("text"),
        errors.RecordTooLargeError("text", size=2000, limit=1000),
        errors.BufferFullError("text"),
        errors.FlushTimeoutError("text", outstanding=7),
        errors.ForkedError("text"),
        errors.ServerError("text", code=2002, name="TopicAlreadyExists"),
        errors.DeliveryError("text", **DELIVERY),
        errors.DeliveryTimeoutError("text", **DELIVERY),
        errors.RetriesExhaustedError("text", **DELIVERY),
        errors.RejectedError("text", code=13, name="PermissionDenied", **DELIVERY),
        errors.CommitTimeoutError("text", offset=42, **DELIVERY),
    )
}

PARENTS: dict[str, tuple[type, ...]] = {
    "ConfigError": (ValueError,),
    "ConnectError": (ConnectionError, OSError),
    "ConnectTimeoutError": (errors.ConnectError,),
    "TopicNotFoundError": (LookupError,),
    "PartitionNotFoundError": (LookupError,),
    "RecordTooLargeError": (ValueError,),
    "DeliveryTimeoutError": (errors.DeliveryError,),
    "RetriesExhaustedError": (errors.DeliveryError,),
    "RejectedError": (errors.DeliveryError,),
    "CommitTimeoutError": (errors.DeliveryError,),
}

OUT_OF_TIME = {
    "ConnectTimeoutError",
    "RequestTimeoutError",
    "MetadataTimeoutError",
    "BufferFullError",
    "FlushTimeoutError",
    "DeliveryTimeoutError",
    "CommitTimeoutError",
}


def fields(error: FluvioError) -> dict[str, Any]:
    return {name: value for name, value in vars(error).items() if name != "_fields"}


def test_there_is_a_sample_of_every_error() -> None:
    classes = {
        name for name, member in vars(errors).items() if inspect.isclass(member) and issubclass(member, FluvioError)
    }
    assert classes == set(SAMPLES)


@pytest.mark.parametrize("error", SAMPLES.values(), ids=SAMPLES)
def test_errors_are_copied_with_their_attributes_and_equal_themselves_alone(error: FluvioError) -> None:
    assert str(error) == "text"
    assert error.args == ("text",)
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert str(again) == "text"
        assert fields(again) == fields(error)
        assert again != error
        assert len({error, again, error}) == 2


@pytest.mark.parametrize("error", SAMPLES.values(), ids=SAMPLES)
def test_the_parents_of_each_error(error: FluvioError) -> None:
    name = type(error).__name__
    assert all(isinstance(error, parent) for parent in PARENTS.get(name, ()))
    assert isinstance(error, errors.DeliveryError) == (
        name == "DeliveryError" or errors.DeliveryError in PARENTS.get(name, ())
    )


@pytest.mark.parametrize("error", SAMPLES.values(), ids=SAMPLES)
def test_out_of_time_is_both_timeout_errors_and_nothing_else_is(error: FluvioError) -> None:
    expected = type(error).__name__ in OUT_OF_TIME
    assert isinstance(error, TimeoutError) == expected
    assert isinstance(error, concurrent.futures.TimeoutError) == expected


@pytest.mark.parametrize("error", SAMPLES.values(), ids=SAMPLES)
def test_every_error_can_carry_a_hint(error: FluvioError) -> None:
    if isinstance(error, errors.UnsupportedVersionError):
        assert error.hint == "upgrade the older side"
        return
    assert error.hint == ""
    again = copy.copy(type(error)("text; do this", hint="do this", **fields(error)))
    assert (str(again), again.hint) == ("text; do this", "do this")


def test_attributes() -> None:
    rejected = SAMPLES["RejectedError"]
    assert fields(rejected) == {"code": 13, "name": "PermissionDenied", **DELIVERY}
    assert fields(SAMPLES["CommitTimeoutError"]) == {"offset": 42, **DELIVERY}
    assert fields(SAMPLES["RecordTooLargeError"]) == {"size": 2000, "limit": 1000}


def test_the_defaults_of_a_delivery_error() -> None:
    error = errors.DeliveryError("text", topic="orders", partition=0)
    assert (error.attempts, error.elapsed) == (0, 0.0)
    assert error.retriable is False
    assert error.may_be_stored is False


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ((0, 7), "0.9.0) offers versions 0 to 7"),
        (None, "0.9.0) does not know it"),
    ],
)
def test_a_version_error_names_the_versions_of_both_sides(theirs: tuple[int, int] | None, expected: str) -> None:
    error = errors.UnsupportedVersionError(api="Produce", ours=(8, 25), theirs=theirs, platform="0.9.0")
    assert "Produce: this client speaks versions 8 to 25" in str(error)
    assert expected in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
