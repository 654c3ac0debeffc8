# SPDX-License-Identifier: Apache-2.0
"""What a producer promises of its records, and what it waits for.

Pure: no socket, thread, clock, randomness or log.  Everything here is immutable.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TypeAlias

from fluvio_sync._base.text import shown
from fluvio_sync._settings import checks
from fluvio_sync.errors import ConfigError
from fluvio_sync.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class AtMostOnce:
    """A record is written to a socket once or not at all; nobody waits for the answer.

    `send()` returns a future that is already done.  Failures are counted and logged, never raised
    by it.
    """


@dataclass(frozen=True, slots=True)
class AtLeastOnce:
    """A record is sent until the cluster acknowledges it, or `retry_policy` is spent.  The default.

    `retry_policy`: a `RetryPolicy`; `ConfigError` for anything else.  A record may be stored twice
    when the answer to an attempt was lost.
    """

    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        if not isinstance(self.retry_policy, RetryPolicy):
            raise ConfigError(f"retry_policy cannot be {shown(self.retry_policy)}: it is a RetryPolicy")


DeliverySemantic: TypeAlias = AtMostOnce | AtLeastOnce

_SEMANTICS: dict[str, type[AtMostOnce | AtLeastOnce]] = {
    "atmostonce": AtMostOnce,
    "atleastonce": AtLeastOnce,
}


def delivery_semantic(value: object) -> DeliverySemantic:
    """Return the delivery semantic that `value` is, makes or spells.

    An instance, one of the two classes, or a string as Fluvio's command line takes it:
    "at-least-once", "at_least_once", "AtLeastOnce", "atLeastOnce", "atleastonce", and the same for
    most.  `ConfigError` otherwise.
    """
    if isinstance(value, (AtMostOnce, AtLeastOnce)):
        return value
    if value is AtMostOnce or value is AtLeastOnce:
        return AtMostOnce() if value is AtMostOnce else AtLeastOnce()
    found = _SEMANTICS.get(checks.spelling(value)) if isinstance(value, str) else None
    if found is not None:
        return found()
    raise ConfigError(
        f"delivery_semantic cannot be {shown(value)}: it is AtMostOnce(), "
        "AtLeastOnce(RetryPolicy(...)), 'at-most-once' or 'at-least-once'"
    )


class Isolation(enum.Enum):
    """What an acknowledgement of an at-least-once record means.

    READ_UNCOMMITTED: the leader has stored it.  READ_COMMITTED: its replicas have, too.
    """

    READ_UNCOMMITTED = "read-uncommitted"
    READ_COMMITTED = "read-committed"
