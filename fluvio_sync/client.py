# SPDX-License-Identifier: Apache-2.0
"""`Fluvio`: the connection of a process to a cluster.

One client per process is enough: it is thread-safe, and all its producers share one sender thread, one connection per
SPU (Stream Processing Unit) and isolation level, and one memory bound.  After a fork the child's copy starts clean at
its first use.  `Fluvio.connect` is long because it names and describes every setting of a client.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, cast

from fluvio_sync._base.text import did_you_mean, shown
from fluvio_sync._core.partition import RECORD_CHARGE
from fluvio_sync._runtime import exit as _exit
from fluvio_sync._runtime import uwsgi
from fluvio_sync._runtime.engine import ClientConfig
from fluvio_sync._runtime.holder import EngineHolder
from fluvio_sync._settings.checks import choice, flag, seconds, size, unknown_setting
from fluvio_sync._settings.endpoint import parse_endpoint
from fluvio_sync._settings.environment import client_settings, misspelt
from fluvio_sync._settings.topic_name import check_topic_name
from fluvio_sync.config import CLIENT_SETTINGS, OF_RETRY_POLICY, Compression, ProducerConfig, TlsConfig
from fluvio_sync.errors import ConfigError
from fluvio_sync.producer import TopicProducer
from fluvio_sync.profile import load_profile
from fluvio_sync.protocol.metadata import TopicCompression

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from datetime import timedelta
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from fluvio_sync.config import ProducerSettings
    from fluvio_sync.stats import FlushResult, Health, ProducerStats
    from fluvio_sync.topics import TopicDescription

P = ParamSpec("P")
T = TypeVar("T")

_PLACE = ("endpoint", "profile", "profile_path")


def _completed_by_environment(connect: Callable[P, T]) -> Callable[P, T]:
    """Complete the caller's settings from the environment."""

    @functools.wraps(connect)
    def completed(cls: type[Fluvio], endpoint: str | None = None, **settings: Any) -> T:
        settings["endpoint"] = endpoint
        told_where = any(settings.get(name) is not None for name in _PLACE)
        for name, value in client_settings(os.environ).items():
            if settings.get(name) is None and not (told_where and name in _PLACE):
                settings[name] = value
        return cast("Callable[..., T]", connect)(cls, **settings)

    return cast("Callable[P, T]", completed)


class Fluvio:
    """A client of a cluster; made by `Fluvio.connect`.  Any thread may use any method."""

    def __init__(self, holder: EngineHolder) -> None:
        """Make a client that connects at its first use; applications call `Fluvio.connect`."""
        if not isinstance(holder, EngineHolder):
            raise TypeError("a client is made by Fluvio.connect('host:port')")
        self._holder = holder

    @classmethod
    @_completed_by_environment
    def connect(
        cls,
        endpoint: str | None = None,
        *,
        profile: str | None = None,
        profile_path: str | os.PathLike[str] | None = None,
        tls: TlsConfig | ssl.SSLContext | None = None,
        client_id: str = "fluvio-sync",
        use_spu_local_address: bool | None = None,
        spu_address_override: Mapping[int, str] | Callable[[int, str], str | None] | None = None,
        connect_timeout: float | timedelta = 10.0,
        request_timeout: float | timedelta = 30.0,
        metadata_timeout: float | timedelta = 10.0,
        exit_timeout: float | timedelta = 5.0,
        buffer_memory: int = 32 * 1024 * 1024,
        **unknown: NoReturn,
    ) -> Fluvio:
        """Connect to a cluster's SC (Streaming Controller) and return the client.

        * `endpoint`: the SC's address, `"host"` or `"host:port"` (default port 9003).  Without it, the current profile
          of Fluvio's own profile file names the cluster.
        * `profile`: another profile of that file.
        * `profile_path`: another profile file (default `$FLV_PROFILE_PATH`, else `~/.fluvio/config`).
        * `tls`: a `TlsConfig`, an `ssl.SSLContext`, or None (default): the profile's if the endpoint came from it,
          else plain TCP.
        * `client_id`: the name that the cluster sees, at most 255 bytes (default "fluvio-sync").
        * `use_spu_local_address`: True connects to the address that SPUs have inside the cluster's network (default:
          the profile's setting, else False).
        * `spu_address_override`: addresses of SPUs whose advertised address does not work from here: a mapping from
          SPU id to `"host:port"`, or a function of the id and the advertised address (default none).
        * `connect_timeout`: seconds for a connection (default 10).
        * `request_timeout`: seconds for the answer to a request (default 30); a retry policy may shorten it.
        * `metadata_timeout`: seconds that `topic_producer` waits for a topic (default 10).
        * `exit_timeout`: seconds for draining at the interpreter's exit (default 5).
        * `buffer_memory`: bytes that unresolved records may hold, 128 each on top of key and value (default 32 MiB).

        The environment completes the settings: `FLUVIO_SYNC_ENDPOINT` and so on for each but `profile_path`; for `tls`,
        `FLUVIO_SYNC_TLS` ("disabled", "anonymous" or "verified") and `FLUVIO_SYNC_TLS_DOMAIN`, `_TLS_CA_CERT`,
        `_TLS_CERT`, `_TLS_KEY`.

        In uWSGI's master, which loads the application and then forks the workers, it returns at once, and the client
        connects in each worker at its first use.

        Errors:

        * `ConfigError`: a setting or the profile cannot work; or gevent or eventlet are patched in part only.
        * `ConnectError`: the SC cannot be reached; `ConnectTimeoutError` after `connect_timeout`.
        * `ProtocolError`: the server does not speak Fluvio's protocol.
        * `UnsupportedVersionError`: client and server share no version of it.
        """
        uwsgi.refuse_without_threads()
        for name in unknown:
            of_producers = {"topic_producer()": ProducerConfig.__dataclass_fields__}
            raise unknown_setting(name, CLIENT_SETTINGS, of_producers | OF_RETRY_POLICY)
        where, secured, local = _find_cluster(endpoint, profile, profile_path)
        if not isinstance(tls, TlsConfig | None):
            import ssl  # noqa: PLC0415 - it takes long, and most clients need it not

            if not isinstance(tls, ssl.SSLContext):
                raise ConfigError(f"tls is a TlsConfig or an ssl.SSLContext, not {type(tls).__name__}")
        if not isinstance(client_id, str) or len(client_id.encode()) > 255:
            raise ConfigError("client_id is a string of at most 255 bytes")
        _check_override(spu_address_override)
        holder = EngineHolder(
            ClientConfig(
                endpoint=parse_endpoint(where),
                tls=tls or secured,
                client_id=client_id,
                use_spu_local_address=(
                    local if use_spu_local_address is None else flag("use_spu_local_address", use_spu_local_address)
                ),
                spu_address_override=spu_address_override,
                connect_timeout=seconds("connect_timeout", connect_timeout, positive=True),
                request_timeout=seconds("request_timeout", request_timeout, positive=True),
                metadata_timeout=seconds("metadata_timeout", metadata_timeout),
                exit_timeout=seconds("exit_timeout", exit_timeout),
                buffer_memory=size("buffer_memory", buffer_memory),
            )
        )
        client = cls(holder)
        client._begin()
        return client

    def _begin(self) -> None:
        """Connect, unless that has to wait for a fork."""
        if not self._holder.waits_for_fork():
            self._holder.running()

    @property
    def endpoint(self) -> str:
        """The SC's `"host:port"`."""
        return self._holder.endpoint

    @property
    def client_id(self) -> str:
        """The name that the cluster sees, and that distinguishes a process's clients in metrics."""
        return self._holder.config.client_id

    @property
    def running(self) -> bool:
        """Whether it is connected in this process: not before its first use, as after a fork, and not once closed."""
        return self._holder.present() is not None

    # Producers.

    def topic_producer(
        self, topic: str, config: ProducerConfig | None = None, **settings: Unpack[ProducerSettings]
    ) -> TopicProducer:
        """Return a producer for a topic.

        Cheap, and without I/O, for a topic that is known: one per web request is fine.  Waits at most
        `metadata_timeout` for a topic that was just created.

        * `topic`: its name.
        * `config`: a `ProducerConfig` (default one of all defaults).
        * `settings`: the settings of `ProducerConfig` by keyword; they change single values of `config`.

        Errors:

        * `ConfigError`: a setting, or the topic's name, cannot work.
        * `TopicNotFoundError`: the cluster has no such topic.
        * `MetadataTimeoutError`: the SC could not be asked.
        * `ClosedError`: the client is closed.
        """
        check_topic_name(topic)
        producer_config = ProducerConfig.from_settings(config, settings)
        if producer_config.max_request_size + RECORD_CHARGE > self._holder.config.buffer_memory:
            raise ConfigError(
                f"max_request_size ({producer_config.max_request_size} bytes) with its {RECORD_CHARGE} bytes of "
                f"accounts is more than the client's buffer_memory ({self._holder.config.buffer_memory} bytes): "
                "the largest record would never find space"
            )
        producer = self._make_producer(topic, producer_config)
        if not self._holder.waits_for_fork():
            producer._begin()  # noqa: SLF001 - the client's part of making it
        return producer

    def _make_producer(self, topic: str, config: ProducerConfig) -> TopicProducer:
        return TopicProducer(self._holder, topic, config)

    # Topics.

    def create_topic(
        self,
        name: str,
        *,
        partitions: int = 1,
        replication: int = 1,
        compression: Compression | str | None = None,
        exist_ok: bool = False,
    ) -> None:
        """Create a topic; returns once its partitions are online.

        * `name`: 1 to 63 characters of a-z, 0-9 and "-", neither the first nor the last of them a "-".
        * `partitions`: the number of its partitions (default 1).
        * `replication`: the number of replicas of each partition (default 1).
        * `compression`: the only codec that the topic accepts; None (default) is any.
        * `exist_ok`: True accepts that the topic exists already (default False).

        Errors:

        * `ServerError`: the SC rejects the topic, or cannot place all replicas (code 2005: the topic was created, and
          waits for more SPUs).
        * `ConfigError`: a bad name or number.
        * `ConnectError`, `RequestTimeoutError`: the SC cannot be reached, or does not answer.
        """
        codec = TopicCompression.ANY
        if compression is not None:
            codec = TopicCompression[choice(Compression, "compression", compression).name]
        engine = self._holder.running()
        engine.admin.create_topic(
            name, partitions=partitions, replication=replication, compression=codec, exist_ok=exist_ok
        )
        engine.expect_topic(name)

    def delete_topic(self, name: str) -> None:
        """Delete a topic and its records.

        * `name`: the topic's name.

        Raises `TopicNotFoundError`, and the errors of `create_topic`.
        """
        self._holder.running().admin.delete_topic(name)

    def topics(self) -> list[str]:
        """Return the names of the cluster's topics, sorted, without internal ones; raises as `create_topic`."""
        return [topic.name for topic in self.describe_topics()]

    def describe_topics(self) -> list[TopicDescription]:
        """Return the cluster's topics with their numbers of partitions and replicas and their codec; see `topics()`."""
        return self._holder.running().admin.topics()

    # Life.

    def health(self) -> Health:
        """Return a snapshot for a readiness probe; no I/O for a connected client, else it raises as `connect`."""
        return self._holder.running().health()

    def stats(self) -> dict[str, ProducerStats]:
        """Return a snapshot of each topic's counters under all settings; no I/O, and empty unless it is `running`."""
        engine = self._holder.present()
        return {} if engine is None else engine.accumulator.stats_by_topic(engine.reconnects)

    def close(self, timeout: float | timedelta | None = None) -> FlushResult:
        """Drain, then close all connections; returns the outcomes of all producers' records.

        * `timeout`: seconds; None (default) is as long as the records' own deadlines allow.

        Records that are unresolved then fail with `ClosedError`; a blocked `send()` raises it.  May be repeated.
        Raises `RuntimeError` from a callback.
        """
        return self._holder.close(seconds("timeout", timeout, optional=True))[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close; raise the first failure if records failed whose futures no caller looked at.

        If an exception leaves the block, it waits at most `exit_timeout`, and raises nothing.  A note of the exception
        (Python 3.11), and a line on standard error unless the application logs errors, tell how many records were lost.
        """
        timeout = None if error is None else self._holder.config.exit_timeout
        _, unseen = self._holder.close(timeout, leaving=error)
        if unseen is not None and error is None:
            raise unseen

    def __repr__(self) -> str:
        return f"<Fluvio client of {self.endpoint}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Fluvio, (self._holder,)


def _check_override(override: object) -> None:
    if override is None or callable(override):
        return
    if not isinstance(override, Mapping):
        raise ConfigError("spu_address_override is a mapping from SPU id to 'host:port', or a function")
    for spu, address in override.items():
        if isinstance(spu, bool) or not isinstance(spu, int):
            raise ConfigError(f"a key of spu_address_override is the id of an SPU, a number, not {shown(spu)}")
        try:
            parse_endpoint(address, default_port=None)
        except ConfigError as error:
            raise ConfigError(f"spu_address_override for SPU {spu}: {error}") from error


def _find_cluster(
    endpoint: str | None, profile: str | None, profile_path: str | os.PathLike[str] | None
) -> tuple[str, TlsConfig, bool]:
    """Return endpoint, TLS and use_spu_local_address: of the endpoint, or of a profile."""
    if endpoint is not None and (profile is not None or profile_path is not None):
        raise ConfigError("endpoint and profile exclude each other: a profile names its own endpoint")
    if endpoint is not None:
        return endpoint, TlsConfig.disabled(), False
    try:
        found = load_profile(profile, profile_path)
    except ConfigError as error:
        meant = misspelt(os.environ) if profile is None and profile_path is None else {}
        if not meant:
            raise
        hints = [f"{variable} is set: {did_you_mean([known])}" for variable, known in meant.items()]
        raise ConfigError(f"{error}; {'; '.join(hints)}") from error
    return str(found.endpoint), found.tls, found.use_spu_local_address


connect = Fluvio.connect


class _Checked(Fluvio):
    """Takes settings as `Fluvio.connect` does, and goes no further."""

    def _begin(self) -> None:
        pass


def checked_config(settings: Mapping[str, Any]) -> ClientConfig:
    """Return these settings of `Fluvio.connect`, completed from the environment.

    Raises `ConfigError` for what `Fluvio.connect` refuses, a profile that is not there included.
    """
    return _Checked.connect(**settings)._holder.config  # noqa: SLF001 - the same class


def unconnected(settings: Mapping[str, Any]) -> Fluvio:
    """Return a client of such settings, which connects at its first use; raises as `checked_config`."""
    return Fluvio(EngineHolder(checked_config(settings)))


def check_client_settings(settings: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for settings that `Fluvio.connect` refuses; no profile is looked for."""
    if settings.get("endpoint") is None:
        given = {name: value for name, value in settings.items() if name not in _PLACE}
        _Checked.connect("unknown.invalid", **given)
    else:
        _Checked.connect(**settings)


def condition(client: Fluvio) -> Health | None:
    """Return a client's health without I/O; None if it has not tried to connect in this process, or is closed."""
    return client._holder.health()  # noqa: SLF001 - the same module's class


def try_again(client: Fluvio) -> None:
    """Have a client connect in the background, because no request of the application will make it."""
    client._holder.try_again()  # noqa: SLF001 - the same module's class


def waits_for_fork(client: Fluvio) -> bool:
    """Return whether this process is to fork its workers first, as uWSGI's master, and must not start a thread."""
    return client._holder.waits_for_fork()  # noqa: SLF001 - the same module's class


def leave_open_at_exit(client: Fluvio) -> None:
    """Have the interpreter's end leave a connected client open, because its owner closes it after that."""
    engine = client._holder.present()  # noqa: SLF001 - the same module's class
    if engine is not None:
        _exit.remove_engine(engine)
