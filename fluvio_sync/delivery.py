# SPDX-License-Identifier: Apache-2.0
"""The delivery semantics and isolation levels of a producer.

Pure: no socket, thread, clock, randomness or log.  Everything here is immutable.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from fluvio_sync._base.text import shown
from fluvio_sync._settings import checks
from fluvio_sync.errors import ConfigError
from fluvio_sync.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class AtMostOnce:
    """A record is written to a socket once or not at all, and the client does not wait for the answer.

    `send()` returns a future that is already done.  Failures are counted and logged, never raised by it.
    """


@dataclass(frozen=True, slots=True)
class AtLeastOnce:
    """A record is sent until the cluster acknowledges it, or `retry_policy` is exhausted.  The default.

    * `retry_policy`: a `RetryPolicy` (default `RetryPolicy()`); `ConfigError` for anything else.

    If the answer to an attempt does not arrive, the record is looked for in the log before it is sent again.  It may be
    stored twice all the same where no look is possible, or if the attempt is carried out after the look.
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
    """Return the delivery semantic that `value` is, makes or spells; `ConfigError` otherwise.

    * `value`: an instance, one of the two classes, or a string as Fluvio's command line accepts it: "at-least-once",
      "at_least_once", "AtLeastOnce", "atLeastOnce", "atleastonce", and the same for most.
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
    """The meaning of an acknowledgement under at-least-once.

    * `READ_UNCOMMITTED`: the leader has stored the record.
    * `READ_COMMITTED`: the leader and its replicas have stored it.
    """

    READ_UNCOMMITTED = "read-uncommitted"
    READ_COMMITTED = "read-committed"

    if not TYPE_CHECKING:
        # Enum's own is written in Python, and pipelines are looked up by it for every record that is sent alone.
        __hash__ = object.__hash__
