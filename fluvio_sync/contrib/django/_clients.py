# SPDX-License-Identifier: Apache-2.0
"""The clients of this process: one for each alias, made when it is first asked for and connected when it is first used.

There is no lock, because a fork could leave it locked.  Making a client does no I/O: all threads that race for the
first use get the same client, and the others have nothing to close.  After a fork the child uses its copies of the
clients, which connect anew.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync.client import unconnected
from fluvio_sync.contrib.django import _aliases
from fluvio_sync.contrib.django._aliases import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Unpack

    from fluvio_sync.client import Fluvio
    from fluvio_sync.config import ProducerConfig, ProducerSettings
    from fluvio_sync.producer import TopicProducer

# Seconds that a test which overrides FLUVIO waits for records that are on their way.
_DRAIN = 5.0


class Configured(NamedTuple):
    """A client, and the settings of its producers unless they are given others."""

    client: Fluvio
    config: ProducerConfig


_made: dict[str, Configured] = {}
_stand_ins: dict[str, Fluvio] = {}


def client(alias: str = DEFAULT) -> Fluvio:
    """Return the client of an alias of FLUVIO: the same one at each call in a process.

    It connects at its first use, in the thread that uses it.  Do not close it: the next call returns it again.

    Raises `ConfigError` for an alias that does not exist and for settings that cannot work.
    """
    return configured(alias).client


def producer(topic: str, alias: str = DEFAULT, **settings: Unpack[ProducerSettings]) -> TopicProducer:
    """Return a producer for a topic; cheap, so each request may ask for one.

    * `topic`: the name of the topic.
    * `alias`: of FLUVIO (default "default").
    * `settings`: of `ProducerConfig`, on top of the alias's PRODUCER.

    The first producer of a process connects, and the first for a topic that was just created waits for it.  Raises as
    `client`, `Fluvio.connect` and `Fluvio.topic_producer` do.
    """
    found = configured(alias)
    return found.client.topic_producer(topic, found.config, **settings)


def configured(alias: str) -> Configured:
    """Return the client of an alias with its producers' settings; raises as `client`."""
    stand_in = _stand_ins.get(alias)
    if stand_in is not None:
        return Configured(stand_in, _aliases.read(alias).producer)
    found = _made.get(alias)
    if found is None:
        content = _aliases.read(alias)
        found = _made.setdefault(alias, Configured(unconnected(content.connect), content.producer))
    return found


def in_use() -> dict[str, Fluvio]:
    """Return the clients of this process, connected or not, by their aliases."""
    made = {alias: found.client for alias, found in list(_made.items())}
    return made | dict(_stand_ins)


def forget() -> None:
    """Close all clients, so that their next use reads FLUVIO again; stand-ins stay."""
    while _made:
        _, found = _made.popitem()
        found.client.close(_DRAIN)


@contextmanager
def stand_in(alias: str, fluvio: Fluvio) -> Iterator[None]:
    """Put `fluvio` into the place of an alias's client, in all threads of this process, for the length of a block."""
    _aliases.read(alias)  # which raises as for a real client
    before = _stand_ins.get(alias)
    _stand_ins[alias] = fluvio
    try:
        yield
    finally:
        if before is None:
            del _stand_ins[alias]
        else:
            _stand_ins[alias] = before
