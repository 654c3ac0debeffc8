# SPDX-License-Identifier: Apache-2.0
"""When a failed attempt is tried again, and until when: `RetryPolicy`, over the generators of `backoff`.

Pure: no socket, thread, clock or log, and randomness only where a policy asks for jitter.  Policies are immutable and
any thread may use one; an iterator of delays belongs to one batch.  `load`, or the first delay, imports the modules
that compute delays: `backoff` imports asyncio, which takes some 50 ms.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

from fluvio_sync._base.text import counted
from fluvio_sync._settings import checks
from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta
    from fractions import Fraction

# Seconds before the timeout that a last attempt gets, if a tenth of the timeout is not less.
_RESERVE = 1.0
# Seconds by which a timer may miss, so that a last attempt is not followed by another.
_TICK = 0.001
# Attempts at which a policy's representation stops to count.
_SHOWN = 1000


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
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RetryPolicy:
    """How often, when and for how long an at-least-once batch is tried again.  Immutable, hashable.

    * `max_retries`: attempts after the first, an `int` of at least 0 (0 means one attempt); None (default): as many as
      the timeout allows.  None needs delays above 0.
    * `initial_delay`: seconds before the first retry (default 0.020); 0 makes every delay 0.
    * `max_delay`: the bound of every delay, in seconds (default 10).
    * `timeout`: seconds from the moment a batch is ready to be sent until its futures are done in any case (default
      300; more than 0).  A delay that would leave less than a second of it, or a tenth if that is less, is shortened to
      leave just that for a last attempt; with less left the batch fails.
    * `strategy`: a `RetryStrategy` or its name (default exponential): the delay stays (fixed), is the sum of the two
      before it (Fibonacci), or is `multiplier` times the one before (exponential).
    * `multiplier`: the factor of the exponential strategy (default 10, as in Fluvio's documentation; at least 1).
    * `jitter`: True takes a random delay between 0 and the computed one (default False, as in Fluvio).

    Durations are `float`, `int` or `timedelta`; they are kept as `float`.  Raises `ConfigError` for anything else.

    Fluvio's Rust client gives up after 4 retries, and so loses records whenever a cluster restarts.  It also multiplies
    by the *number of milliseconds* of the initial delay: 10 ms gives 10, 100, 1000 as here, but its default of 20 ms
    gives 20, 400, 8000, 160000 where this policy waits 0.02, 0.2, 2 and 10 s; 1 ms would never grow.
    """

    max_retries: int | None = None
    initial_delay: float = 0.020
    max_delay: float = 10.0
    timeout: float = 300.0
    strategy: RetryStrategy = RetryStrategy.EXPONENTIAL_BACKOFF
    multiplier: float = 10.0
    jitter: bool = False

    if TYPE_CHECKING:  # it accepts more types than it keeps

        def __init__(
            self,
            *,
            max_retries: int | None = ...,
            initial_delay: float | timedelta = ...,
            max_delay: float | timedelta = ...,
            timeout: float | timedelta = ...,
            strategy: RetryStrategy | str = ...,
            multiplier: float = ...,
            jitter: bool = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        keep = object.__setattr__
        if self.max_retries is not None:
            keep(self, "max_retries", checks.size("max_retries", self.max_retries, minimum=0))
        keep(self, "initial_delay", checks.seconds("initial_delay", self.initial_delay))
        keep(self, "max_delay", checks.seconds("max_delay", self.max_delay))
        keep(self, "timeout", checks.seconds("timeout", self.timeout, positive=True))
        strategy = checks.choice(RetryStrategy, "strategy", self.strategy, _ALIASES)
        keep(self, "strategy", strategy)
        keep(self, "multiplier", checks.number("multiplier", self.multiplier, minimum=1.0))
        keep(self, "jitter", checks.flag("jitter", self.jitter))
        if self.max_retries is None and 0 in (self.initial_delay, self.max_delay):
            raise ConfigError(
                "max_retries cannot be None with an initial_delay or max_delay of 0: attempts would follow one another "
                "without a pause until the timeout"
            )

    def __repr__(self) -> str:
        """Return the changed settings, the timeout, and the attempts that they allow if no server answers."""
        shown = [
            f"{field.name}={(value.value if isinstance(value, enum.Enum) else value)!r}"
            for field in fields(self)
            if (value := getattr(self, field.name)) != field.default or field.name == "timeout"
        ]
        attempts, last = self._schedule()
        means = f"{counted(attempts, 'attempt')}, the last at {last:.3g} s"
        if attempts == _SHOWN:
            means = f"{attempts} attempts or more"
        return f"RetryPolicy({', '.join(shown)}: {means})"

    def _schedule(self) -> tuple[int, float]:
        """Return the number of attempts and when the last of them is made, if each fails at once."""
        attempts, elapsed = 1, 0.0
        for delay in dataclasses.replace(self, jitter=False).delays():
            wait = self.wait_for(delay, self.timeout - elapsed)
            if wait is None or attempts == _SHOWN:
                break
            attempts, elapsed = attempts + 1, elapsed + wait
        return attempts, elapsed

    def wait_for(self, delay: float, left: float) -> float | None:
        """Return the seconds until the next attempt, None if there is no time for another one.

        * `delay`: the policy's, which is shortened so that a last attempt is made before the timeout.
        * `left`: seconds until the timeout.
        """
        reserve = min(_RESERVE, self.timeout / 10)
        if left < reserve + _TICK:
            return None
        # Batches that are ready one after the other reach their last attempts so, too: never sooner than half the
        # reserve, or each of them would make the client connect once more.
        return min(delay, max(left - reserve, reserve / 2))

    def delays(self, random: Uniform | None = None) -> Iterator[float]:
        """Yield the seconds before each retry, none above `max_delay`: `max_retries` of them; None: without end.

        Every call begins anew.  The timeout may shorten a delay.

        * `random`: the source of jitter, such as a `random.Random(seed)` (default the random module).  A policy without
          jitter does not use it.
        """
        # Not islice(), which refuses a number above sys.maxsize.
        retries = itertools.count() if self.max_retries is None else range(self.max_retries)
        for _, exact in zip(retries, self._exact_delays(), strict=False):
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
