# SPDX-License-Identifier: Apache-2.0
"""Delivery semantics and isolation."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from fluvio_sync.delivery import AtLeastOnce, AtMostOnce, delivery_semantic
from fluvio_sync.errors import ConfigError
from fluvio_sync.retry import RetryPolicy


@pytest.mark.parametrize("semantic", [AtMostOnce, AtLeastOnce])
def test_a_semantic_may_be_a_class_or_its_name(semantic: Any) -> None:
    name = semantic.__name__
    for value in (semantic, name, name.lower(), f"at-{name[2:-4]}-once".lower()):
        assert delivery_semantic(value) == semantic()


def test_an_instance_is_kept() -> None:
    semantic = AtLeastOnce(RetryPolicy(max_retries=9))
    assert delivery_semantic(semantic) is semantic


@pytest.mark.parametrize("value", ["exactly-once", "", None, 1, RetryPolicy(), RetryPolicy, object])
def test_anything_else_raises(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^delivery_semantic cannot be .*'at-least-once'$"):
        delivery_semantic(value)


@pytest.mark.parametrize("value", [None, 5, {"max_retries": 5}, RetryPolicy])
def test_the_policy_is_a_policy(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^retry_policy cannot be .* it is a RetryPolicy$"):
        AtLeastOnce(value)


def test_they_compare_hash_and_pickle_by_value() -> None:
    semantics = {AtMostOnce(), AtMostOnce(), AtLeastOnce(), AtLeastOnce(RetryPolicy())}
    assert semantics == {AtMostOnce(), AtLeastOnce()}
    patient = AtLeastOnce(RetryPolicy(timeout=900))
    assert patient != AtLeastOnce()
    assert pickle.loads(pickle.dumps(patient)) == patient
    assert pickle.loads(pickle.dumps(AtMostOnce())) == AtMostOnce()
