# SPDX-License-Identifier: Apache-2.0
"""`FaultProxy`: a TCP proxy on loopback that breaks connections to order.

One daemon thread runs its event loop, which owns the sockets.  The public methods have their orders carried
out in that thread, and return when that is done.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Literal

from fluvio_sync._settings.endpoint import parse_endpoint
from fluvio_sync.testing._faults import ProduceFault

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from fluvio_sync.testing._forwarding import Connection
    from fluvio_sync.testing._link import Link

Direction = Literal["requests", "responses"]


class FaultProxy:
    """Passes bytes on between its clients and a server, and breaks connections to order.

    `target`: the server's `"host:port"`.
    `port`: the port of 127.0.0.1 where it listens; default: any free one.
    `on_produce`: called in the proxy's thread for each produce request with its size in bytes; may return a
    `ProduceFault` for it.  It sees no requests through TLS; everything else works with TLS too.

    It serves from its construction to `close()` or the end of its `with` block.  To have a client reach an SPU through
    it, give its `endpoint` to `Fluvio.connect(..., spu_address_override={5001: proxy.endpoint})`; for the SC it takes
    the place of the endpoint.

    `faults` counts the faults by kind: those of `ProduceFault`, `"now"` for connections cut by `cut()`, and
    `"forgotten"` for those of `forget()`.
    `requests` counts produce requests.  Every method may be called from any thread.  A fork shares the sockets: make
    proxies after it.
    """

    def __init__(
        self, target: str, *, port: int = 0, on_produce: Callable[[int], ProduceFault | None] | None = None
    ) -> None:
        """Listen; `ConfigError` for a malformed target, `OSError` for a port that is taken."""
        # These import asyncio, which takes as long as the whole package and is needed for this alone.
        from fluvio_sync.testing._forwarding import Forwarder  # noqa: PLC0415
        from fluvio_sync.testing._serving import LoopThread, Port  # noqa: PLC0415

        address = parse_endpoint(target)
        self.target: str = str(address)
        self.faults: Counter[str] = Counter()
        self.requests: int = 0
        self._on_produce = on_produce
        self._planned: deque[ProduceFault] = deque()
        self._forwarder = Forwarder(Port("127.0.0.1", port), address, self._choose_fault)
        self._thread = LoopThread(self._forwarder.serve, "fault-proxy")

    @property
    def endpoint(self) -> str:
        """Its `"127.0.0.1:port"`, which stays the same while connections are refused."""
        return f"127.0.0.1:{self._forwarder.port.number}"

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return sum(not connection.client.closed.is_set() for connection in list(self._forwarder.connections))

    # --- faults ----------------------------------------------------------------------------------

    def cut(
        self,
        when: Literal["now", "before", "during", "after", "late"] = "now",
        *,
        count: int = 1,
        sent: int | None = None,
        reset: bool = True,
        delay: float = 0.3,
    ) -> None:
        """Cut connections: all of them now, or those of the next `count` produce requests.

        `when`, `sent`, `reset`, `delay`: `"now"`, or as in `ProduceFault`.
        `count`: how many produce requests; default: the next one.

        New connections are accepted again at once, unless `refuse()` was called.
        """
        if when == "now":
            self._order(lambda: self._cut_now(reset=reset))
        else:
            fault = ProduceFault(when, sent, reset, delay)
            self._order(lambda: self._planned.extend([fault] * count))

    def lose_replies(self, count: int = 1) -> None:
        """Have the replies to the next `count` produce requests never arrive, on connections that stay."""
        fault = ProduceFault("lost reply")
        self._order(lambda: self._planned.extend([fault] * count))

    def refuse(self, *, on: bool = True) -> None:
        """Refuse new connections, as a closed port does, or accept them again; the existing ones go on."""
        self._order(lambda: self._refuse(on=on))

    def hold(self, *, on: bool = True) -> None:
        """Stall: accept connections and bytes, and forward nothing; with `on=False` the held bytes are forwarded."""
        self._order(lambda: self._hold(on=on))

    def forget(self, *, on: bool = True) -> None:
        """Have nothing pass any more on the connections that there are, as if a firewall had forgotten them.

        Neither side is told: not of a loss, and not if the other side closes.  New connections work.  The client's
        system sees its bytes acknowledged, by the proxy: only an answer that does not come shows the loss.

        With `on=False` they are remembered: what has waited passes, and a side whose other side has closed meanwhile is
        told so.
        """
        self._order(self._forget if on else self._remember)

    def delay(self, seconds: float, direction: Direction | None = None) -> None:
        """Forward the bytes that arrive from now on so many seconds later; 0: at once.

        `direction`: of requests or of responses alone; default: each way.

        Bytes do not wait for each other: a thousand small requests take one delay together.
        """
        self._order(lambda: self._delay(seconds, direction))

    def limit(self, bytes_per_second: float | None, direction: Direction | None = None) -> None:
        """Limit the bandwidth, which all connections share; None: no limit.

        `direction`: of requests or of responses alone; default: each way, with so many bytes each.

        Bytes that cannot pass soon are not read, so that the sender's socket is full, as with a slow network.
        """
        if bytes_per_second is not None and bytes_per_second <= 0:
            raise ValueError("bytes_per_second must be above 0: hold() lets nothing pass")
        self._order(lambda: self._limit(bytes_per_second, direction))

    def half_close(self) -> None:
        """End the servers' side of all connections: clients read EOF, and their bytes are still forwarded."""
        self._order(self._half_close)

    # --- its life --------------------------------------------------------------------------------

    def close(self) -> None:
        """End all connections and stop listening.  May be repeated."""
        self._thread.end(self._forwarder.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- in its thread ---------------------------------------------------------------------------

    def _order(self, work: Callable[[], object]) -> None:
        """Have `work` done in the proxy's thread and wait for it."""
        if not self._thread.is_alive():
            raise RuntimeError("the proxy is closed")
        self._thread.call(work)

    def _cut_now(self, *, reset: bool) -> None:
        for connection in self._uncut():
            self.faults["now"] += 1
            connection.cut(reset=reset)

    def _uncut(self) -> list[Connection]:
        """Return the connections whose client's side is not cut."""
        return [connection for connection in self._forwarder.connections if not connection.late]

    def _refuse(self, *, on: bool) -> None:
        port = self._forwarder.port
        if on and port.is_open:
            port.refuse()
        elif not on and not port.is_open:
            port.open(self._forwarder.begin)

    def _half_close(self) -> None:
        for connection in self._uncut():
            connection.half_close()

    def _hold(self, *, on: bool) -> None:
        self._forwarder.held = on
        for connection in list(self._forwarder.connections):
            connection.forward()

    def _links(self, direction: Direction | None) -> list[Link]:
        links = {"requests": self._forwarder.to_server, "responses": self._forwarder.to_client}
        return [*links.values()] if direction is None else [links[direction]]

    def _delay(self, seconds: float, direction: Direction | None) -> None:
        for link in self._links(direction):
            link.delay = seconds

    def _limit(self, rate: float | None, direction: Direction | None) -> None:
        for link in self._links(direction):
            link.limit(rate)
        for connection in list(self._forwarder.connections):
            connection.resize_buffers()
            connection.forward()

    def _forget(self) -> None:
        for connection in self._uncut():
            self.faults["forgotten"] += not connection.forgotten
            connection.forgotten = True

    def _remember(self) -> None:
        for connection in list(self._forwarder.connections):
            connection.remember()

    def _choose_fault(self, size: int) -> ProduceFault | None:
        """Return the fault of a produce request of `size` bytes."""
        self.requests += 1
        fault = self._planned.popleft() if self._planned else None
        if self._on_produce is not None and fault is None:
            fault = self._on_produce(size)
        if fault is not None:
            self.faults[fault.kind] += 1
        return fault
