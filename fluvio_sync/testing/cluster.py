# SPDX-License-Identifier: Apache-2.0
"""`LocalCluster`: a Fluvio cluster on loopback for tests, with faults to order.

It speaks the real protocol, to this package's client and to the official ones.  It is for
development and tests: nothing is replicated, authenticated or ever cleaned up.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Literal

from fluvio_sync.errors import ConfigError, ServerError
from fluvio_sync.testing._cluster.process import ClusterProcess
from fluvio_sync.testing.reader import read_partition
from fluvio_sync.tls import TlsConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from typing_extensions import Self

    from fluvio_sync._reading.partition_log import StoredRecord
    from fluvio_sync.testing._cluster.thread import ClusterThread


class LocalCluster:
    """An SC (Streaming Controller) and its SPUs (Stream Processing Units), from `start()` (or `with`) to `close()`.

    `spus`: how many SPUs; default: 1.
    `data_dir`: a folder that keeps topics and records for the next cluster with that folder; default: in memory.
    A new folder is its user's alone; a warning says if others may write to an old one, and files that are not a
    cluster's own are not touched.
    `port`: the SC's port; the SPUs take the following ones; default: free ports.
    `in_process`: run in a thread of this process instead of a process of its own, which a debugger can follow but
    which shares the interpreter's lock with the tests.
    `host`: the address to listen on, which clients are told; default: this machine's own.  With `"0.0.0.0"` or `"::"`,
    clients are told the address by which they reached the SC.  Whoever reaches another address than loopback can read
    and write everything, unless `tls_client_ca` is given: a warning says so.
    `strict`: reject, by closing the connection, batches that a real SPU would take but that no correct producer sends
    (a wrong checksum or count, no records); `violations()` tells why.
    `platform`: the platform version that the SC reports.
    `sc_version`: the highest version of metadata and administration that the SC offers.
    `spu_version`: the highest version of produce and the other requests that the SPUs offer.
    `tls_cert`, `tls_key`: PEM files of the servers' certificate chain and its key, which may be in one; they make SC
    and SPUs speak TLS.  Clients verify a `domain` of theirs for the SC and `custom-spu-5001.<domain>` for an SPU.
    `tls_client_ca`: a PEM file of the authority whose certificates clients must show, which makes it mutual TLS.

    SPU ids count from 5001.  Every method may be called from any thread.  A cluster can be started
    again after `close()` or `kill()`; it gets the same ports then.
    """

    def __init__(
        self,
        spus: int = 1,
        data_dir: str | os.PathLike[str] | None = None,
        port: int = 0,
        *,
        in_process: bool = False,
        host: str = "127.0.0.1",
        strict: bool = True,
        platform: str = "0.18.1",
        sc_version: int = 19,
        spu_version: int = 25,
        tls_cert: str | os.PathLike[str] | None = None,
        tls_key: str | os.PathLike[str] | None = None,
        tls_client_ca: str | os.PathLike[str] | None = None,
    ) -> None:
        self._ports = [port + index if port else 0 for index in range(spus + 1)]
        self._in_process = in_process
        files = {"data_dir": data_dir, "tls_cert": tls_cert, "tls_key": tls_key, "tls_client_ca": tls_client_ca}
        self._settings: dict[str, Any] = {
            "host": host,
            "strict": strict,
            "platform": platform,
            "sc_version": sc_version,
            "spu_version": spu_version,
            **{name: os.fspath(file) for name, file in files.items() if file is not None},
        }
        self._running: ClusterProcess | ClusterThread | None = None
        self._owner = 0

    # --- its life --------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start it and wait until it serves; `RuntimeError` if it does not, e.g. for a taken port.

        Also for TLS files that are missing, unreadable or do not fit together.
        """
        if self._running is not None:
            raise RuntimeError("the cluster is running already")
        settings = {"ports": self._ports, **self._settings}
        self._running = _thread(settings) if self._in_process else ClusterProcess(settings)
        self._owner = os.getpid()
        endpoints = [self.endpoint, *self.spu_endpoints.values()]
        self._ports = [int(endpoint.rpartition(":")[2]) for endpoint in endpoints]
        return self

    def close(self) -> None:
        """End it in good order; nothing happens if it does not run."""
        self._end("stop")

    def kill(self) -> None:
        """End it as a crash would."""
        self._end("kill")

    def _end(self, how: Literal["stop", "kill"]) -> None:
        running, self._running = self._running, None
        if running is not None and self._owner == os.getpid():
            getattr(running, how)()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- addresses -------------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        """The SC's `"host:port"`, for `connect()`."""
        return self._backend().endpoint

    @property
    def spu_endpoints(self) -> dict[int, str]:
        """The SPUs' `"host:port"`, by their ids."""
        return dict(self._backend().spu_endpoints)

    def _backend(self) -> ClusterProcess | ClusterThread:
        if self._running is None:
            raise RuntimeError("the cluster does not run: use it in a `with`, or call start()")
        return self._running

    def _order(self, order: str, /, **arguments: Any) -> Any:
        return self._backend().order(order, arguments)

    def _administer(self, order: str, /, **arguments: Any) -> None:
        outcome = self._order(order, **arguments)
        if outcome["code"]:
            raise ServerError(outcome["text"], code=outcome["code"], name=outcome["name"])

    # --- topics and records ----------------------------------------------------------------------

    def create_topic(
        self,
        name: str,
        partitions: int = 1,
        replication: int = 1,
        compression: str | None = None,
        *,
        segment_size: int | None = None,
    ) -> None:
        """Create a topic; `ServerError` if the SC rejects it.

        `name`: lower-case letters, digits and hyphens.
        `partitions`: how many it has; default: 1.
        `replication`: how many SPUs have each partition; default: 1.
        `compression`: the only codec that it takes (`"none"`, `"gzip"`, ...); default: any.
        `segment_size`: bytes; no batch may be larger; default: 1 GiB.
        """
        self._administer(
            "create_topic",
            name=name,
            partitions=partitions,
            replication=replication,
            compression=compression,
            segment_size=segment_size,
        )

    def delete_topic(self, name: str) -> None:
        """Delete a topic and its records; `ServerError` if there is none."""
        self._administer("delete_topic", name=name)

    def add_partitions(self, name: str, count: int) -> None:
        """Add `count` partitions to a topic; `ServerError` if there is none."""
        self._administer("add_partitions", name=name, count=count)

    def advertise(self, spu: int, public: str | None, local: str | None = None) -> None:
        """Have the SC tell clients that an SPU is at `public` ("host:port"), as in a network that they are not in.

        `spu`: the id of the SPU.
        `public`: the address for clients; None: its real one.
        `local`: the address for clients with `use_spu_local_address`; None: none.
        """
        self._order("advertise", spu=spu, public=public, local=local)

    def load_smartmodule(self, name: str) -> None:
        """Have a SmartModule of this name: a filter that keeps the records whose value contains its parameter `keep`.

        As in a real cluster, offsets advance by the number of records that were produced, and an entry is
        rejected for one record at which it fails (here: whose value is not UTF-8).
        """
        self._order("load_smartmodule", name=name)

    def leader(self, topic: str, partition: int = 0) -> int:
        """Return the id of the SPU that leads a partition; `ValueError` if there is no such."""
        return int(self._order("leader", topic=topic, partition=partition))

    def records(self, topic: str, partition: int = 0, tls: TlsConfig | None = None) -> list[StoredRecord]:
        """Return all records of a partition, read from its leader over the wire.

        `topic`, `partition`: the partition to read.
        `tls`: as for `Fluvio.connect`; default: the servers are not verified.

        Raises `ConfigError` without `tls` where clients must show a certificate, and the errors of `read_partition`.
        """
        if tls is None and "tls_client_ca" in self._settings:
            raise ConfigError(
                "the cluster demands a certificate of its clients (tls_client_ca): "
                "give records() a tls=TlsConfig.verified(...) with cert and key"
            )
        if tls is None and "tls_cert" in self._settings:
            tls = TlsConfig.anonymous()
        return read_partition(self.endpoint, topic, partition, tls=tls)

    def violations(self) -> list[str]:
        """Return the errors of peers so far: undecodable requests, and batches (if strict)."""
        return list(self._order("violations"))

    # --- faults ----------------------------------------------------------------------------------

    def kill_spu(self, spu: int) -> None:
        """Take an SPU down: connections break, new ones are refused, other replicas take over."""
        self._order("kill_spu", spu=spu)

    def restart_spu(self, spu: int) -> None:
        """Bring a killed SPU back on its port; its replicas catch up."""
        self._order("restart_spu", spu=spu)

    def kill_sc(self) -> None:
        """Take the SC down; the SPUs go on."""
        self._order("kill_sc")

    def restart_sc(self) -> None:
        """Bring a killed SC back on its port."""
        self._order("restart_sc")

    def move_leader(self, topic: str, partition: int, spu: int, *, lost: int = 0) -> None:
        """Let another SPU lead a partition, with all its records.

        `topic`, `partition`: the partition.
        `spu`: the id of the new leader, which must run.
        `lost`: how many batches the new leader lacks at the end of the log; they are gone, acknowledged or not, as when
        a real SC (Streaming Controller) elects a replica that lags behind; default: none.
        """
        self._order("move_leader", topic=topic, partition=partition, spu=spu, lost=lost)

    def fail_next_produce(
        self,
        code: int,
        count: int = 1,
        topic: str | None = None,
        payload: Sequence[object] = (),
    ) -> None:
        """Answer the next `count` partition entries (of `topic`) with an error; nothing is written.

        `code`: Fluvio's error code.
        `count`: how many entries; default: the next one.
        `topic`: the topic of the entries; default: any.
        `payload`: the parts that some codes demand, in the order of the wire.

        Raises `ValueError` for an unknown code, or for a payload that does not fit it.
        """
        arguments = {"code": int(code), "count": count, "topic": topic, "payload": list(payload)}
        self._order("fail_next_produce", **arguments)

    def hold_replies(self, spu: int, *, on: bool = True) -> None:
        """Let an SPU (0: the SC) stall: it carries out one request a connection, and does not answer."""
        self._order("hold_replies", node=spu, on=on)

    def cut_next_produce(
        self,
        spu: int,
        when: Literal["before", "after", "late"] = "after",
        count: int = 1,
        *,
        delay: float = 0.3,
    ) -> None:
        """Break the connections of the next `count` produce requests to an SPU.

        `spu`: the id of the SPU.
        `when`: `"before"`: nothing is written; `"after"`: everything is written, and the reply is lost; `"late"`:
        everything is written some time after the connection broke, unless the SPU is killed or leads no more by then.
        `count`: how many requests; default: the next one.
        `delay`: seconds between the break and the writing, for `"late"`.
        """
        self._order("cut_next_produce", spu=spu, when=when, count=count, delay=delay)


def _thread(settings: dict[str, Any]) -> ClusterThread:
    # These import asyncio, which takes as long as the whole package and is needed for this alone.
    from fluvio_sync.testing._cluster.server import ClusterServer  # noqa: PLC0415
    from fluvio_sync.testing._cluster.thread import ClusterThread  # noqa: PLC0415

    try:
        server = ClusterServer(**settings)
    except (OSError, ValueError) as error:
        raise RuntimeError(f"the development cluster did not start: {error}") from error
    for warning in server.warnings:
        sys.stderr.write(f"development cluster: warning: {warning}\n")
    return ClusterThread(server)
