# SPDX-License-Identifier: Apache-2.0
"""Settings: `ProducerConfig` and its parts; it also exports `TlsConfig`.

Pure: no socket, thread, clock, randomness or log.  Everything here is immutable and validated when it is made; any
thread may use it.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from fluvio_sync._base.text import shown
from fluvio_sync._settings import checks
from fluvio_sync.delivery import (
    AtLeastOnce,
    AtMostOnce,
    DeliverySemantic,
    Isolation,
    delivery_semantic,
)
from fluvio_sync.errors import ConfigError
from fluvio_sync.protocol.batch import BATCH_OVERHEAD
from fluvio_sync.protocol.compression import Codec, compressor
from fluvio_sync.retry import RetryPolicy
from fluvio_sync.tls import TlsConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from typing_extensions import Unpack

    from fluvio_sync.partitioner import Partitioner

__all__ = ["Compression", "ProducerConfig", "ProducerSettings", "SmartModule", "TlsConfig"]

LARGEST_BATCH = 33_554_432
"""The largest batch that an SPU (Stream Processing Unit) accepts, in bytes."""

_LONGEST_WIRE_MILLISECONDS = 2**31 - 1


class Compression(enum.Enum):
    """The codec of batches; snappy, lz4 and zstd need the extra `fluvio-sync[compression]`."""

    NONE = "none"
    GZIP = "gzip"
    SNAPPY = "snappy"
    LZ4 = "lz4"
    ZSTD = "zstd"

    def __init__(self, name: str) -> None:
        self.codec: Codec = Codec[name.upper()]
        """The codec's number on the wire."""


@dataclass(frozen=True, slots=True, init=False, repr=False)
class SmartModule:
    """A SmartModule of the cluster, which the SPU runs on each produced record.

    * `name`: `"name"`, `"group/name"` or `"group/name@version"`.
    * `params`: the module's parameters, a mapping of `str` to `str` (default none).

    Raises `ConfigError` for anything else.
    """

    name: str
    _pairs: tuple[tuple[str, str], ...]

    def __init__(self, name: str, params: Mapping[str, str] | None = None) -> None:
        if not isinstance(name, str) or not name:
            raise ConfigError(f"a SmartModule's name cannot be {shown(name)}: it is a string")
        if not isinstance(params, (Mapping, type(None))) or not all(
            isinstance(text, str) for pair in (params or {}).items() for text in pair
        ):
            raise ConfigError(
                f"the params of the SmartModule {name!r} cannot be {shown(params)}: "
                "they are a mapping of strings to strings"
            )
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "_pairs", tuple(sorted((params or {}).items())))

    @property
    def params(self) -> dict[str, str]:
        """The parameters, as a new dict in ascending order."""
        return dict(self._pairs)

    def __repr__(self) -> str:
        return f"SmartModule({self.name!r}, {self.params!r})"


class ProducerSettings(TypedDict, total=False):
    """The settings of a producer as keyword arguments; `ProducerConfig` describes them."""

    delivery_semantic: DeliverySemantic | type[AtMostOnce | AtLeastOnce] | str
    isolation: Isolation | str
    linger: float | timedelta
    batch_size: int
    max_request_size: int
    on_full: Literal["block", "raise"]
    max_block: float | timedelta
    compression: Compression | str | None
    compression_level: int | None
    server_timeout: float | timedelta
    verify_retries: bool
    partitioner: Partitioner | None
    key_serializer: Callable[[Any], Any] | None
    value_serializer: Callable[[Any], Any] | None
    smartmodules: Iterable[SmartModule]


CLIENT_SETTINGS = (
    "endpoint",
    "profile",
    "profile_path",
    "tls",
    "client_id",
    "use_spu_local_address",
    "spu_address_override",
    "connect_timeout",
    "request_timeout",
    "metadata_timeout",
    "exit_timeout",
    "buffer_memory",
)
"""The names of the settings of `Fluvio.connect`."""

OF_RETRY_POLICY = {"RetryPolicy: AtLeastOnce(RetryPolicy(...))": RetryPolicy.__dataclass_fields__}
"""The settings of a policy, to be named when one is given to something else."""

_ELSEWHERE = {"Fluvio.connect()": CLIENT_SETTINGS, **OF_RETRY_POLICY}


@partial(checks.refuse_unknown, elsewhere=_ELSEWHERE)
@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerConfig:
    """The settings of a producer.  Immutable, hashable.

    * `delivery_semantic`: `AtLeastOnce(RetryPolicy(...))` (default), `AtMostOnce()`, or the name of one.
    * `isolation`: the condition for an acknowledgement under at-least-once: `Isolation.READ_UNCOMMITTED` (default;
      stored by the leader) or `READ_COMMITTED` (replicated), or the name of one.
    * `linger`: seconds that a batch waits for more records (default 0: it leaves as soon as the connection is free).
    * `batch_size`: bytes of one batch, uncompressed, at which it is closed (default 16384).
    * `max_request_size`: bytes, uncompressed, of the largest batch and of all batches in a request, headers included
      (default 1048576; at most 33554432, the largest batch that an SPU accepts).  `send()` raises for a larger record.
    * `on_full`: the behaviour of `send()` while the client's `buffer_memory` is full: "block" (default) for at most
      `max_block` seconds, or "raise" at once.
    * `max_block`: seconds that `send()` blocks at most (default 30).
    * `compression`: a `Compression` or its name; None (default) is the topic's setting.
    * `compression_level`: gzip 0 to 9, lz4 0 to 12, zstd 1 to 22; None (default) is the codec's own.
    * `server_timeout`: seconds that a leader waits for its replicas under read-committed, for each partition (default
      1.5; rounded to milliseconds on the wire; at most 2147483).
    * `verify_retries`: before at-least-once sends a batch again that may be stored, look into the log whether it is
      (default True).  Records that SmartModules or a deduplication change on the SPU are not looked for.
    * `partitioner`: an object with the method of `Partitioner`; None (default) is Fluvio's own, whose round over the
      partitions is shared by the producers of a client's topic.
    * `key_serializer`: a function that makes bytes or `str` of the key given to `send()`, in the caller's thread; None
      (default) takes bytes-like objects and `str` as they are.
    * `value_serializer`: the same for the value.
    * `smartmodules`: `SmartModule`s that the SPU runs on each record, in this order (default none).

    Durations are `float`, `int` or `timedelta`, kept as `float`.  Raises `ConfigError` for an unknown setting and for a
    value that cannot work.
    """

    delivery_semantic: DeliverySemantic = field(default_factory=AtLeastOnce)
    isolation: Isolation = Isolation.READ_UNCOMMITTED
    linger: float = 0.0
    batch_size: int = 16_384
    max_request_size: int = 1_048_576
    on_full: Literal["block", "raise"] = "block"
    max_block: float = 30.0
    compression: Compression | None = None
    compression_level: int | None = None
    server_timeout: float = 1.5
    verify_retries: bool = True
    # Not hashed, only compared: an application's own objects need not be hashable.
    partitioner: Partitioner | None = field(default=None, hash=False)
    key_serializer: Callable[[Any], Any] | None = field(default=None, hash=False)
    value_serializer: Callable[[Any], Any] | None = field(default=None, hash=False)
    smartmodules: tuple[SmartModule, ...] = ()

    if TYPE_CHECKING:  # it accepts more types than it keeps

        def __init__(self, **settings: Unpack[ProducerSettings]) -> None: ...

    @classmethod
    def from_settings(cls, config: ProducerConfig | None, settings: Mapping[str, Any]) -> ProducerConfig:
        """Return `config` with some settings changed.

        * `config`: a `ProducerConfig`; None is one with all defaults.
        * `settings`: the changed settings by their names.

        Raises `ConfigError` for a setting that does not exist (it names the nearest one) or that the class does not
        accept.
        """
        if not isinstance(config, (ProducerConfig, type(None))):
            raise ConfigError(f"config cannot be {shown(config)}: it is a ProducerConfig")
        return dataclasses.replace(config or cls(), **settings)

    def __post_init__(self) -> None:
        for name, value in self._normal_forms():
            object.__setattr__(self, name, value)
        self._check_sizes()
        self._check_compression()

    def _normal_forms(self) -> Iterator[tuple[str, object]]:
        yield "delivery_semantic", delivery_semantic(self.delivery_semantic)
        yield "isolation", checks.choice(Isolation, "isolation", self.isolation)
        yield "linger", checks.seconds("linger", self.linger)
        yield "batch_size", checks.size("batch_size", self.batch_size)
        smallest = BATCH_OVERHEAD + 1
        request_size = checks.size("max_request_size", self.max_request_size, smallest, LARGEST_BATCH)
        yield "max_request_size", request_size
        yield "on_full", _on_full(self.on_full)
        yield "max_block", checks.seconds("max_block", self.max_block)
        if self.compression is not None:
            yield "compression", checks.choice(Compression, "compression", self.compression)
        if self.compression_level is not None:
            level = checks.size("compression_level", self.compression_level, minimum=0)
            yield "compression_level", level
        longest = _LONGEST_WIRE_MILLISECONDS / 1000
        yield (
            "server_timeout",
            checks.seconds("server_timeout", self.server_timeout, maximum=longest),
        )
        yield "verify_retries", checks.flag("verify_retries", self.verify_retries)
        _check_partitioner(self.partitioner)
        _check_serializer("key_serializer", self.key_serializer)
        _check_serializer("value_serializer", self.value_serializer)
        yield "smartmodules", _smartmodules(self.smartmodules)

    def _check_sizes(self) -> None:
        if self.batch_size > self.max_request_size:
            raise ConfigError(
                f"batch_size ({self.batch_size} bytes) is larger than max_request_size "
                f"({self.max_request_size} bytes): lower the one or raise the other"
            )

    def _check_compression(self) -> None:
        if self.compression is not None:
            compressor(self.compression.codec, self.compression_level)  # raises ConfigError if they do not fit
        elif self.compression_level is not None:
            raise ConfigError("compression_level without compression: set compression to the codec it is for")


def _on_full(value: object) -> str:
    if isinstance(value, str) and value in ("block", "raise"):
        return value
    raise ConfigError(f"on_full cannot be {shown(value)}: it is 'block' or 'raise'")


def _check_partitioner(value: object) -> None:
    if value is None:
        return
    is_text = isinstance(value, (str, bytes, bytearray))  # texts have a method of that name
    if is_text or isinstance(value, type) or not callable(getattr(value, "partition", None)):
        raise ConfigError(
            f"partitioner cannot be {shown(value)}: it is an object with a method "
            "partition(key, value, partition_count, available), not a class, or None"
        )


def _check_serializer(name: str, value: object) -> None:
    if value is not None and not callable(value):
        raise ConfigError(f"{name} cannot be {shown(value)}: it is a function of one argument, or None")


def _smartmodules(value: object) -> tuple[SmartModule, ...]:
    modules: tuple[Any, ...] = tuple(value) if isinstance(value, Iterable) else (None,)
    if not all(isinstance(module, SmartModule) for module in modules):
        raise ConfigError(f"smartmodules cannot be {shown(value)}: it is a sequence of SmartModule")
    return modules
