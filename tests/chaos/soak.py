# SPDX-License-Identifier: Apache-2.0
"""A long run of producers in the middle of what servers, networks and applications do to them.

`Soak(seed, seconds).run()` is a `Chaos` for a time instead of a number of faults, at a steady rate, and with more
troubles: connections that a firewall forgot, slow links, log handlers that stall, logging that is configured anew,
producers with new settings, processes that fork.  Besides the promises it checks that the process does not grow.
"""

from __future__ import annotations

import gc
import itertools
import logging
import logging.config
import os
import random
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fluvio_sync import AtLeastOnce, AtMostOnce, ConnectError, RetryPolicy
from tests.chaos.chaos import PATIENT, TOPICS, Broken, Chaos, Sending

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync import Fluvio
    from tests.chaos.proxies import Remote

WARM_UP = 1 / 6
"""The share of the run, five minutes of thirty, after which memory may grow by no more than `GROWTH`."""
GROWTH = 1.05
LONG_RUN = 600.0
"""Seconds from which on a run can judge growth: the first minute of a process takes memory for many things."""
PAUSE = 0.2
"""Seconds between two bursts of a thread; a burst has eight records on average."""
FORK_TIMEOUT = 60.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Stalling(logging.Handler):
    """A handler that takes up to a second for one event in twenty."""

    _random = random.Random(0)

    def emit(self, record: logging.LogRecord) -> None:
        """Format the event, and stall."""
        self.format(record)
        if self._random.random() < 0.05:
            time.sleep(self._random.random())


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(name)s %(message)s"}},
    "handlers": {"stalling": {"()": "tests.chaos.soak.Stalling", "formatter": "plain"}},
    "loggers": {"fluvio_sync": {"handlers": ["stalling"], "level": "DEBUG", "propagate": False}},
}


PLAIN = {"handlers": [], "level": "NOTSET", "propagate": True}


class Steady(Sending):
    """Sends at a steady rate."""

    def _burst(self) -> None:
        super()._burst()
        self._chaos.ending.wait(PAUSE)


class Changing(Steady):
    """Takes a producer with settings of its own for each burst, once the records of the last one are done."""

    def __init__(self, chaos: Chaos, name: str, client: Fluvio, topic: str) -> None:
        super().__init__(chaos, name, client, topic, AtLeastOnce(PATIENT))
        self._client = client
        self._numbers = itertools.count()

    def _burst(self) -> None:
        self._settle(0)
        number = next(self._numbers)
        timeout = PATIENT.timeout - 1 / (number + 2)
        policy = RetryPolicy(initial_delay=0.005, max_delay=0.1, multiplier=2, timeout=timeout)
        self._producer = self._client.topic_producer(
            self._chaos.topic_name(self.topic),
            delivery_semantic=AtLeastOnce(policy),
            max_block=self._producer.config.max_block,
            max_request_size=8192,
            batch_size=4096,
            linger=0.001 * (number % 3),
        )
        super()._burst()


class Soak(Chaos):
    """See the module's description.  `process_memory`: seconds of the run, and the bytes of the process then."""

    def __init__(self, seed: int, seconds: float) -> None:
        super().__init__(seed, faults=0)
        self.wanted_seconds = seconds
        self.process_memory: list[tuple[float, int]] = []
        self._began = time.monotonic()

    def _start(self) -> None:
        logging.config.dictConfig(LOGGING)
        self._stack.callback(logging.config.dictConfig, LOGGING | {"loggers": {"fluvio_sync": PLAIN}})
        super()._start()
        self._began = time.monotonic()

    def _goes_on(self) -> bool:
        elapsed = time.monotonic() - self._began
        if not self.process_memory or elapsed - self.process_memory[-1][0] >= 1:
            self.process_memory.append((elapsed, self._process_memory()))
        return elapsed < self.wanted_seconds

    def _sendings(self) -> list[Sending]:
        one, two = self.clients
        patient = AtLeastOnce(PATIENT)
        return [
            Steady(self, "plain", one, "single", patient),
            Steady(self, "lingering", one, "single", patient, linger=0.005),
            Steady(self, "committed", one, "double", patient, isolation="read-committed", linger=0.005),
            Steady(self, "thrice", two, "triple", patient, isolation="read-committed"),
            Steady(self, "packed", two, "double", patient, compression="gzip", batch_size=200),
            Changing(self, "changing", one, "single"),
            Changing(self, "changing too", two, "double"),
            Steady(self, "once", two, "single", AtMostOnce(), linger=0.005),
        ]

    # --- trouble ---------------------------------------------------------------------------------

    def _troubles(self) -> list[Callable[[], None]]:
        return [
            *super()._troubles(),
            self._forget,
            self._forget,
            self._slow_link,
            self._slow_link,
            self._configure_logging,
            self._fork,
        ]

    def _forget(self) -> None:
        def forget(proxy: Remote, on: bool) -> None:  # noqa: FBT001
            # Cut at last, as a server's keepalive does: the bytes that have waited never pass.
            if on:
                proxy.forget()
            else:
                proxy.cut()

        self._toggle("connections forgotten", self._random.choice([0, *self.spus]), forget, [5.0, 30.0])

    def _slow_link(self) -> None:
        def limit(proxy: Remote, on: bool) -> None:  # noqa: FBT001
            proxy.limit(self._random.choice([5_000, 25_000]) if on else None)

        self._toggle("slow link", self._some_spu(), limit, [1.0, 5.0])

    def _configure_logging(self) -> None:
        logging.config.dictConfig(LOGGING)
        self.faults["logging configured"] += 1

    def _fork(self) -> None:
        """Have a child of this process send through the client that it inherits."""
        child = os.fork()
        if not child:
            status = 1
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the way to the proxies' process is among them
            try:
                self._send_from_child()
                status = 0
            except BaseException:  # noqa: BLE001 - the child ends here in any case, with its status
                traceback.print_exc()
            finally:
                os._exit(status)
        deadline = time.monotonic() + FORK_TIMEOUT + 5
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                os.kill(child, 9)
                raise Broken("a child of a fork hangs")
            self.ending.wait(0.05)
            self._repair(time.monotonic())
        if status:
            raise Broken(f"a child of a fork ended with status {status}")
        self.faults["forked"] += 1

    def _send_from_child(self) -> None:
        topic = self.topic_name(self._random.choice([*TOPICS]))
        settings: dict[str, Any] = {"batch_size": 4096, "max_request_size": 8192}
        deadline = time.monotonic() + FORK_TIMEOUT
        while True:
            try:
                producer = self.clients[0].topic_producer(topic, delivery_semantic=AtLeastOnce(PATIENT), **settings)
                break
            except ConnectError:  # the SC is away: a client's first connection is not repeated
                if time.monotonic() > deadline:
                    raise
        for future in producer.send_all([b"from a child"] * 10):
            future.result(FORK_TIMEOUT)

    # --- the end ---------------------------------------------------------------------------------

    def _process_memory(self) -> int:
        """Return the bytes of this process."""
        gc.collect(0)
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE

    def _check(self) -> None:
        super()._check()
        before, after = self.highest(0.0, WARM_UP), self.highest(1 - WARM_UP, 1.0)
        if self.wanted_seconds >= LONG_RUN and after > before * GROWTH:
            raise Broken(f"the process grew from {before / 1e6:.1f} to {after / 1e6:.1f} MB")

    def highest(self, first: float, last: float) -> int:
        """Return the most bytes that the process had in a part of the run, given as shares of its time."""
        ends = first * self.wanted_seconds, last * self.wanted_seconds
        return max((memory for when, memory in self.process_memory if ends[0] <= when <= ends[1]), default=0)

    def report(self) -> str:
        """Return the figures of the run, in lines."""
        shares = [(part / 6, (part + 1) / 6) for part in range(6)]
        sixths = ", ".join(f"{self.highest(*share) / 1e6:.1f}" for share in shares if self.process_memory)
        return f"{super().report()}\n  memory of the process, at most in each sixth of the run: {sixths} MB"
