# SPDX-License-Identifier: Apache-2.0
"""The retry policies of README, docs/ and examples/: beside a dead cluster each holds out for its timeout."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from fluvio_sync import AtLeastOnce, DeliveryTimeoutError, RetryPolicy
from tests.support.documents import PAGES, ROOT, blocks
from tests.support.rig import Rig


def policies_of(code: str) -> list[dict[str, Any]]:
    """Return the settings of every policy in a program, without those that are made of variables."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    return [
        {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
        for call in calls
        if isinstance(call.func, ast.Name)
        and call.func.id == "RetryPolicy"
        and all(isinstance(keyword.value, ast.Constant) for keyword in call.keywords)
    ]


PROGRAMS = {
    **{str(path.relative_to(ROOT)): [path.read_text(encoding="utf-8")] for path in (ROOT / "examples").rglob("*.py")},
    **{
        str(page.relative_to(ROOT)): [
            block.text for block in blocks(page.read_text(encoding="utf-8")) if block.language == "python"
        ]
        for page in PAGES
    },
}
POLICIES = [
    pytest.param(settings, id=f"{name}: {settings}")
    for name, codes in PROGRAMS.items()
    for code in codes
    for settings in policies_of(code)
]


def test_policies_are_found() -> None:
    assert len(POLICIES) > 10


@pytest.mark.parametrize("settings", [*POLICIES, {}])
def test_a_policy_holds_out_for_its_timeout(settings: dict[str, Any]) -> None:
    policy = RetryPolicy(**settings)
    rig = Rig(delivery_semantic=AtLeastOnce(policy))
    rig.servers.spus_online = False
    future = rig.send()
    rig.run(policy.timeout - min(1.0, policy.timeout / 10) - 0.01)
    assert not future.done()
    rig.run(min(1.0, policy.timeout / 10) + 0.01)
    error = future.exception(0)
    assert isinstance(error, DeliveryTimeoutError)
    assert error.elapsed <= policy.timeout
    assert error.attempts >= 4
