# SPDX-License-Identifier: Apache-2.0
"""When a failed attempt is tried again: `RetryPolicy`, over the generators of `backoff`.

Pure: no socket, thread, clock or log, and randomness only where a policy asks for jitter.  Policies are immutable and
any thread may use one; an iterator of delays belongs to one batch.  `load`, or the first delay, imports the modules
that compute delays: `backoff` imports asyncio, which takes some 50 ms.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from fluvio_sync._settings import checks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta
    from fractions import Fraction


class RetryStrategy(enum.Enum):
    """How the delays grow from one retry to the next."""

    FIXED_DELAY = "fixed-delay"
    FIBONACCI_BACKOFF = "fibonacci-backoff"
    EXPONENTIAL_BACKOFF = "exponential-backoff"


_ALIASES = {
    "fixed": RetryStrategy.FIXED_DELAY,
    "constant": RetryStrategy.FIXED_DELAY,
    "fibonacci": RetryStrategy.FIBONACCI_BACKOFF,
    "exponential": RetryStrategy.EXPONENTIAL_BACKOFF,
}


class Uniform(Protocol):
    """The part of `random.Random` that jitter needs."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return a random number between `a` and `b`."""
        ...


@checks.refuse_unknown
@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, when and for how long an at-least-once batch is tried again.  Immutable, hashable.

    * `max_retries`: attempts after the first, an `int` of at least 0 (default 4; 0 means one attempt).
    * `initial_delay`: seconds before the first retry (default 0.020); 0 makes every delay 0.
    * `max_delay`: the bound of every delay, in seconds (default 200).
    * `timeout`: seconds from the moment a batch is ready to be sent until its futures are done in any case (default
      300; more than 0).  If the next delay would pass it, the batch fails at once.
    * `strategy`: a `RetryStrategy` or its name (default exponential): the delay stays (fixed), is the sum of the two
      before it (Fibonacci), or is `multiplier` times the one before (exponential).
    * `multiplier`: the factor of the exponential strategy (default 10, as in Fluvio's documentation; at least 1).
    * `jitter`: True takes a random delay between 0 and the computed one (default False, as in Fluvio).

    Durations are `float`, `int` or `timedelta`; they are kept as `float`.  Raises `ConfigError` for anything else.

    The defaults are those of Fluvio's Rust client, with one difference.  That client multiplies by
    the *number of milliseconds* of the initial delay: 10 ms gives 10, 100, 1000 as here, but its
    default of 20 ms gives 20, 400, 8000, 160000 where this policy waits 0.02, 0.2, 2 and 20 s; 1 ms
    would never grow.
    """

    max_retries: int = 4
    initial_delay: float = 0.020
    max_delay: float = 200.0
    timeout: float = 300.0
    strategy: RetryStrategy = RetryStrategy.EXPONENTIAL_BACKOFF
    multiplier: float = 10.0
    jitter: bool = False

    if TYPE_CHECKING:  # it accepts more types than it keeps

        def __init__(
            self,
            *,
            max_retries: int = ...,
            initial_delay: float | timedelta = ...,
            max_delay: float | timedelta = ...,
            timeout: float | timedelta = ...,
            strategy: RetryStrategy | str = ...,
            multiplier: float = ...,
            jitter: bool = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        keep = object.__setattr__
        keep(self, "max_retries", checks.size("max_retries", self.max_retries, minimum=0))
        keep(self, "initial_delay", checks.seconds("initial_delay", self.initial_delay))
        keep(self, "max_delay", checks.seconds("max_delay", self.max_delay))
        keep(self, "timeout", checks.seconds("timeout", self.timeout, positive=True))
        strategy = checks.choice(RetryStrategy, "strategy", self.strategy, _ALIASES)
        keep(self, "strategy", strategy)
        keep(self, "multiplier", checks.number("multiplier", self.multiplier, minimum=1.0))
        keep(self, "jitter", checks.flag("jitter", self.jitter))

    def delays(self, random: Uniform | None = None) -> Iterator[float]:
        """Yield the seconds before each retry: `max_retries` of them, none above `max_delay`.

        Every call begins anew.

        * `random`: the source of jitter, such as a `random.Random(seed)` (default the random module).  A policy without
          jitter does not use it.
        """
        # Not islice(), which refuses a number above sys.maxsize.
        for _, exact in zip(range(self.max_retries), self._exact_delays(), strict=False):
            delay = float(exact)
            yield _jittered(delay, random) if self.jitter else delay

    def _exact_delays(self) -> Iterator[Fraction]:
        """Return the delays without end, as exact multiples of the caller's numbers.

        In floats, 0.07 s times 10 times 10 is not 7 s.  Fractions of the decimal numbers are exact,
        and each becomes the nearest float only when it is handed out.
        """
        from fractions import Fraction  # noqa: PLC0415 - see the module's docstring

        import backoff  # noqa: PLC0415

        generators: Any = backoff  # annotated for floats, right for any number
        initial, limit = Fraction(str(self.initial_delay)), Fraction(str(self.max_delay))
        unit = Fraction(1)
        if self.strategy is RetryStrategy.FIXED_DELAY or initial == 0:
            delays = generators.constant(min(initial, limit))
        elif self.strategy is RetryStrategy.FIBONACCI_BACKOFF:
            unit = initial
            delays = generators.fibo(max_value=limit / unit)
        else:
            multiplier = Fraction(str(self.multiplier))
            delays = generators.expo(base=multiplier, factor=initial, max_value=limit)
        next(delays)  # the first value of these generators is None
        return (unit * delay for delay in delays)


def load() -> None:
    """Import the modules that compute delays.

    The sender's thread must import nothing: a fork meanwhile leaves the child with an import lock that no thread there
    holds.
    """
    import fractions  # noqa: F401, PLC0415

    import backoff  # noqa: F401, PLC0415


def _jittered(delay: float, random: Uniform | None) -> float:
    if random is not None:
        return random.uniform(0.0, delay)
    import backoff  # noqa: PLC0415 - see the module's docstring

    return backoff.full_jitter(delay)
