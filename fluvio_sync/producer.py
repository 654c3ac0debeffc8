# SPDX-License-Identifier: Apache-2.0
"""`TopicProducer`: an application sends records through it.

A handle: a topic, settings, and the records that were sent through it.  Queue, connections and the sender thread are
the client's, and shared.  `send()` serialises, chooses a partition and appends to a batch; the sender does everything
else.  Any thread may use any method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluvio_sync._core.record import refuse_single, to_bytes, to_milliseconds
from fluvio_sync._core.topic import check_size
from fluvio_sync._outcomes.handle_stats import Unseen
from fluvio_sync._runtime.loss import tell_loss
from fluvio_sync._runtime.producer_handle import ProducerHandle
from fluvio_sync._settings.checks import seconds
from fluvio_sync.delivery import AtMostOnce, Isolation

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from types import TracebackType

    from typing_extensions import Self

    from fluvio_sync.futures import DeliveryFuture
    from fluvio_sync.stats import FlushResult, ProducerStats

__all__ = ["TopicProducer", "check_size", "refuse_single", "to_bytes", "to_milliseconds"]


class TopicProducer(ProducerHandle):
    """Sends records to one topic; made by `Fluvio.topic_producer`.  Any thread may use any method.

    * `topic`: the topic's name.
    * `config`: the `ProducerConfig` in force.
    """

    def _begin(self) -> None:
        """Find the topic, and log a legal setting without effect; called by `Fluvio.topic_producer`."""
        self._attach()
        if isinstance(self.config.delivery_semantic, AtMostOnce) and self.config.isolation is Isolation.READ_COMMITTED:
            self._engine.log.warning(
                "config.isolation_without_effect",
                topic=self.topic,
                reason="at-most-once waits for no answer, so read-committed changes nothing for the caller",
            )

    if TYPE_CHECKING:  # the types that `ProducerHandle.send` checks by itself

        def send(
            self,
            value: Any,
            *,
            key: Any = None,
            partition: int | None = None,
            timestamp: int | datetime | None = None,
        ) -> DeliveryFuture:
            """See `ProducerHandle.send`."""
            ...

    def flush(self, timeout: float | timedelta | None = None) -> FlushResult:
        """Wait until every record sent through this handle before the call is resolved.

        * `timeout`: seconds; None (default) waits as long as the records' own deadlines allow.

        At-most-once records count as resolved once they are handed to the socket or dropped.  Returns the outcomes of
        the handle's records since its last flush.  Raises `FlushTimeoutError`, whose `outstanding` is the number of
        unresolved records (they are still sent), and `RuntimeError` from a callback.
        """
        engine = self._here()
        engine.flush(self._topic_state, self._handle_stats, seconds("timeout", timeout, optional=True))
        return self._handle_stats.take()

    def stats(self) -> ProducerStats:
        """Return a snapshot of this topic's counters under these settings, including those of other handles."""
        engine = self._here()
        return engine.accumulator.stats(self._topic_state, engine.reconnects)

    def close(self, timeout: float | timedelta | None = None) -> FlushResult:
        """Accept no more records through this handle, and wait for its records as `flush` does.

        * `timeout`: seconds; None (default) waits as long as the records' own deadlines allow.

        Records that are unresolved then fail with `ClosedError`, except those in batches that other handles share; a
        blocked `send()` of this handle raises it.  The client and other handles go on.  May be repeated.  Raises
        `RuntimeError` from a callback.
        """
        limit = seconds("timeout", timeout, optional=True)
        engine = self._here()
        engine.close_handle(self._topic_state, self._handle_stats, limit)
        return self._handle_stats.take()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close; raise the first failure if records failed whose futures no caller looked at.

        If an exception leaves the block, it waits at most the client's `exit_timeout`, and raises nothing.  A note of
        the exception (Python 3.11), and a line on standard error unless the application logs errors, tell how many
        records were lost.  After Ctrl-C or the like it does not wait: the client delivers the records.
        """
        if error is not None and not isinstance(error, Exception):
            self._handle_stats.closed = True
            return
        timeout = None if error is None else self._holder.config.exit_timeout
        result = self.close(timeout)
        unseen = self._handle_stats.take_unseen()
        if error is None:
            if unseen.first_error is not None:
                raise unseen.first_error
            return
        if isinstance(self.config.delivery_semantic, AtMostOnce):  # its records raise no error
            unseen = Unseen(result.failed, None)
        log = self._engine.log.bind(topic=self.topic)
        tell_loss(error, unseen, f"the producer for topic {self.topic!r}", self._holder.config.exit_timeout, log)

    def __repr__(self) -> str:
        return f"<TopicProducer for {self.topic!r} at {self._holder.endpoint}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return TopicProducer, (self._holder, self.topic, self.config)
