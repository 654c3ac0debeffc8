# SPDX-License-Identifier: Apache-2.0
"""`EngineHolder`: holds the engine of a client in this process; the client and its producers share it.

The holder makes and connects the engine at the first use, in one thread while others wait.  In the child of a fork it
closes the child's copies of the parent's sockets, and the first use there makes another engine.  The fork hook takes no
lock, since the thread that holds one may not exist in the child.
"""

from __future__ import annotations

import contextlib
import copy
import os
import time
import weakref
from typing import TYPE_CHECKING, Any

from fluvio_sync._base.threads import AtFirstUse, OwnedLock, reentered, runs, slices, started
from fluvio_sync._outcomes.process import forget_parent
from fluvio_sync._runtime import exit as _exit
from fluvio_sync._runtime import greenlets, uwsgi
from fluvio_sync._runtime.engine import ClientConfig, Engine
from fluvio_sync._runtime.log_thread import AT_END
from fluvio_sync._runtime.loss import tell_loss
from fluvio_sync._settings.environment import misspelt
from fluvio_sync.errors import ClosedError, ConnectTimeoutError, FluvioError
from fluvio_sync.stats import FlushResult, Health
from fluvio_sync.tls import verifies_nobody

if TYPE_CHECKING:
    from threading import Thread

_UNVERIFIED = (
    "the tls setting verifies no server: an attacker on the network path can read and change the records; "
    "TlsConfig.verified() prevents that"
)

_holders: weakref.WeakSet[EngineHolder] = weakref.WeakSet()


class EngineHolder:
    """See the module's description.

    * `config`: the client's settings.
    * `engine`: None until its first use.
    """

    _lock = AtFirstUse(OwnedLock)

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self.engine: Engine | None = None
        self._failure: tuple[float, FluvioError] | None = None  # of the last attempt to connect, with its time
        self._failed_at = 0  # in milliseconds since the epoch
        self._trying: Thread | None = None
        self._closed = False
        _holders.add(self)

    @property
    def endpoint(self) -> str:
        """The SC's `"host:port"`."""
        return str(self.config.endpoint)

    def present(self) -> Engine | None:
        """Return this process's engine if there is one."""
        engine = self.engine
        return engine if engine is not None and engine.pid == os.getpid() else None

    def running(self) -> Engine:
        """Return this process's engine; makes and connects it if there is none.

        Raises `ClosedError`, and the errors of `Engine.open`.
        """
        engine = self.present()
        if engine is not None:
            return engine
        began = time.monotonic()
        timeout = self.config.connect_timeout
        lock = self._lock
        if lock.is_mine():
            raise reentered()
        try:
            if not any(lock.acquire(timeout=part) for part in slices(timeout)):
                message = f"cannot connect to the SC at {self.endpoint}: another thread has tried to for {timeout} s"
                raise ConnectTimeoutError(message, address=self.endpoint)
            return self._make_engine(began)
        finally:
            try:  # noqa: SIM105 - see `OwnedLock`
                lock.release()
            except RuntimeError:
                pass

    def _make_engine(self, began: float) -> Engine:
        """Return the engine.  Called with the lock held, for which the caller has waited since `began`."""
        self._refuse_closed()
        engine = self.present()
        if engine is not None:
            return engine
        if self._failure is not None and self._failure[0] >= began:
            # If each waiting thread tried again, the last one would wait many timeouts.
            raise copy.copy(self._failure[1]) from self._failure[1].__cause__
        uwsgi.refuse_before_fork()
        greenlets.refuse_partly_patched()
        engine = Engine(self.config)
        if self._failure is None:
            for variable, meant in misspelt(os.environ).items():
                engine.log.warning("environment.unknown", variable=variable, did_you_mean=meant)
            if verifies_nobody(self.config.tls):
                engine.log.warning("tls.unverified", reason=_UNVERIFIED)
        try:
            engine.open()
        except FluvioError as error:
            self._failure = time.monotonic(), error
            self._failed_at = engine.clock.time_ms()
            raise
        self._failure = None
        self.engine = engine
        _exit.add_engine(self, engine)
        return engine

    def health(self) -> Health | None:
        """Return a snapshot without I/O; None if there was no attempt to connect in this process."""
        engine, failure = self.present(), self._failure
        if engine is not None:
            return engine.health()
        if failure is None or self._closed:
            return None
        return Health(
            connected=False,
            leaders={},
            records_queued=0,
            bytes_queued=0,
            records_in_flight=0,
            last_error=str(failure[1]),
            last_error_at=self._failed_at,
            memory_limit=self.config.buffer_memory,
        )

    def try_again(self) -> None:
        """Have a thread of its own connect, unless one does or none can be started."""
        if not self.waits_for_fork() and not runs(self._trying):
            self._trying = started(self._try, f"{self.config.client_id}-connect")

    def _try(self) -> None:
        with contextlib.suppress(FluvioError):  # which `health` tells
            self.running()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ClosedError(f"this client of {self.endpoint} is closed")

    def waits_for_fork(self) -> bool:
        """Whether it is to connect at first use, in uWSGI's workers."""
        return self.engine is None and uwsgi.is_before_fork()

    def close(
        self, timeout: float | None, leaving: BaseException | None = None
    ) -> tuple[FlushResult, Exception | None]:
        """Close for good: drain for at most `timeout` seconds (None: until the records' deadlines), then disconnect.

        `leaving`: the exception that leaves a `with` block; it is told how many records were lost.  Returns the
        outcomes of the records since the last call, and the error of the first one whose future no caller looked at.
        """
        with self._lock:
            engine = self.present()
            if engine is None:
                self._closed = True
                return FlushResult(0, 0, 0, None), None
        lost = engine.close(timeout)
        with self._lock:
            self._closed = True
            self.engine = None
        _exit.remove_engine(engine)
        result, unseen = engine.handle_stats.take(), engine.handle_stats.take_unseen()
        if leaving is not None:
            unseen = unseen._replace(records=max(unseen.records, lost))  # at-most-once records raise no error
            tell_loss(leaving, unseen, f"the client of {self.endpoint}", self.config.exit_timeout, engine.log)
        elif lost:
            engine.log.error("records.lost", records=lost, reason="the client was closed before they were completed")
        engine.log_thread.close(AT_END)
        return result, unseen.first_error

    def forget(self) -> None:
        """Start clean in the child of a fork; takes no lock that the parent may have held."""
        vars(self).pop("_lock", None)
        self._failure = self._trying = None
        engine, self.engine = self.engine, None
        if engine is not None:
            engine.abandon()

    def __reduce__(self) -> tuple[Any, ...]:
        # Only the settings: the process that unpickles it connects at first use.
        return type(self), (self.config,)


def _after_fork_in_child() -> None:
    forget_parent()
    _exit.forget_engines()
    with contextlib.ExitStack() as stack:  # the failure of one does not keep the others from it
        for holder in list(_holders):
            stack.callback(holder.forget)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
