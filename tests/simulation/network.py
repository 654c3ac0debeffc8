# SPDX-License-Identifier: Apache-2.0
"""The simulated network between the client's connections and the cluster core: it delays, slows, cuts and fills up."""

from __future__ import annotations

import errno
import math
from typing import TYPE_CHECKING

from fluvio_sync._net.transport import Stage
from fluvio_sync.testing._memory import MemoryNetwork, MemoryTransport

if TYPE_CHECKING:
    import random
    from collections import deque
    from collections.abc import Callable

    from fluvio_sync._net.peer import Peer
    from fluvio_sync.testing._cluster.core import ClusterCore


class SimulatedTransport(MemoryTransport):
    """A connection whose bytes take time, each direction in order.

    * `room`: bytes that the socket takes before it is full, None without a limit.
    * `through`: when the last byte that the socket took is through the slow link.
    * `lost`: bytes that it took after the connection was forgotten.
    * `last_up`, `last_down`: when the last bytes arrive.
    * `aborted_at`: when the client gave it up, with the bytes that had not passed the slow link then.
    """

    def __init__(self, network: SimulatedNetwork, peer: Peer) -> None:
        super().__init__(network, peer)
        self.room: int | None = None
        self.through = 0.0
        self.lost = 0
        self.last_up = 0.0
        self.last_down = 0.0
        self.aborted_at = math.inf

    def send(self, pending: deque[memoryview]) -> int:
        if self.room is None or self.full or self.error is not None:
            return super().send(pending)
        data = b"".join(pending)[: self.room]
        self.room -= len(data)
        if not self.room:
            self.full, self.room = True, None
        self._network.carry(self, data)
        return len(data)

    def abort(self) -> None:
        network = self._network
        assert isinstance(network, SimulatedNetwork)
        self.aborted_at = min(self.aborted_at, network.now())
        self.close()

    def unacknowledged(self) -> int:
        network = self._network
        assert isinstance(network, SimulatedNetwork)
        return network.under_way(self)


class SimulatedNetwork(MemoryNetwork):
    """See the module's description.

    * `refusing`: SPUs that refuse connections.
    * `far`: seconds that answers of an SPU take more than those of others.
    * `left`: ports that SPUs have moved away from; packets to them vanish.
    * `rate`: bytes a second that one connection to an SPU carries.
    * `tells`: the client's system tells how many bytes are not acknowledged.
    * `transports`: the open ones.
    """

    def __init__(
        self,
        core: ClusterCore,
        now: Callable[[], float],
        after: Callable[[float, Callable[[], None]], None],
        draw: random.Random,
    ) -> None:
        """`after`: has a function called after so many seconds."""
        super().__init__(core, now)
        self.refusing: set[int] = set()
        self.far: dict[int, float] = {}
        self.left: set[int] = set()
        self.transports: list[SimulatedTransport] = []
        self.delay = draw.choice([0.0001, 0.001, 0.02])
        slow = [(20_000.0, True), (2000.0, True), (5000.0, False)]
        self.rate, self.tells = draw.choice([*[(math.inf, True)] * 5, *slow])
        self._after = after
        self._draw = draw

    def latency(self) -> float:
        return self.delay * (0.5 + self._draw.random())

    def _way_back(self, transport: MemoryTransport) -> float:
        return self.latency() + self.far.get(self.node_of(transport), 0.0)

    def connect(self, peer: Peer, **_times: object) -> SimulatedTransport:
        transport = SimulatedTransport(self, peer)
        self.transports.append(transport)
        self._after(2 * self.latency(), lambda: self.reach(transport))
        return transport

    def reach(self, transport: MemoryTransport) -> None:
        if transport.stage is Stage.CLOSED or transport.peer.endpoint.port in self.left:
            return
        if self.node_of(transport) in self.refusing:
            transport.refusal = "Connection refused"
        else:
            super().reach(transport)
            self.collect()

    def carry(self, transport: MemoryTransport, data: bytes) -> None:
        assert isinstance(transport, SimulatedTransport)
        if transport.forgotten:
            transport.lost += len(data)
        transport.through = max(transport.through, self.now())
        if self.node_of(transport):
            transport.through += len(data) / self.rate
        for payload in transport.frames.feed(memoryview(data)):
            transport.last_up = max(transport.last_up, transport.through + self.latency())
            self._at(transport.last_up, self._arrival(transport, payload, transport.through))

    def under_way(self, transport: SimulatedTransport) -> int:
        """Return how many of a client's bytes are not acknowledged, as far as its system tells."""
        if not self.tells:
            return 0
        slowed = 0.0 if self.rate == math.inf else max(0.0, transport.through - self.now()) * self.rate
        return transport.lost + math.ceil(slowed)

    def _arrival(self, transport: SimulatedTransport, payload: bytes, through: float) -> Callable[[], None]:
        def arrive() -> None:
            if not transport.forgotten and transport.session is not None and through <= transport.aborted_at:
                self.deliver(transport, payload)
                self.collect()

        return arrive

    def answer(self, transport: MemoryTransport, frame: bytes) -> None:
        assert isinstance(transport, SimulatedTransport)
        # Now and then in two pieces, as TCP may.
        cut = self._draw.randrange(len(frame)) if self._draw.random() < 0.1 else len(frame)
        for piece in (frame[:cut], frame[cut:]):
            if piece:
                self.bring_down(transport, piece)

    def bring_down(self, transport: SimulatedTransport, data: bytes) -> None:
        """Bring bytes to the client, behind those before."""
        transport.last_down = max(transport.last_down, self.now() + self._way_back(transport))

        def arrive() -> None:
            if transport.error is None:
                transport.feed(data)

        self._at(transport.last_down, arrive)

    def end(self, transport: MemoryTransport) -> None:
        """Bring the end of the stream to the client, behind the last bytes."""
        assert isinstance(transport, SimulatedTransport)
        transport.last_down = max(transport.last_down, self.now() + self._way_back(transport))

        def arrive() -> None:
            if not transport.forgotten:
                transport.ended = True

        self._at(transport.last_down, arrive)

    def move(self, spu: int, port: int) -> list[SimulatedTransport]:
        """Have an SPU at another port alone; return the transports that go to its old ones."""
        before = [item for item in self.transports if self.node_of(item) == spu]
        self.left |= {old for old, node in self._ports.items() if node == spu}
        self._ports[port] = spu
        return before

    def cut(self, transport: SimulatedTransport) -> None:
        """Break a connection from the outside; the client learns of it a little later."""
        if transport.session is not None:
            self._transports.pop(transport.session, None)
            transport.session.disconnect()
            transport.session = None

            def arrive() -> None:
                transport.error = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")

            self._after(self.latency(), arrive)

    def closed(self, transport: MemoryTransport) -> None:
        assert isinstance(transport, SimulatedTransport)
        self.transports.remove(transport)
        # The client's system sends the bytes that it has taken.
        self._at(max(transport.last_up, self.now()), lambda: super(SimulatedNetwork, self).closed(transport))

    def _at(self, when: float, what: Callable[[], None]) -> None:
        self._after(when - self.now(), what)

    def to_spus(self) -> list[SimulatedTransport]:
        """Return the connected transports to SPUs."""
        return [item for item in self.transports if item.session is not None and self.node_of(item)]

    def to_sc(self) -> SimulatedTransport | None:
        """Return the connected transport to the SC."""
        return next((item for item in self.transports if item.session is not None and not self.node_of(item)), None)
