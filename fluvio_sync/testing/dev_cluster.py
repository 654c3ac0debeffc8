# SPDX-License-Identifier: Apache-2.0
"""The development cluster as a process: `fluvio-sync dev-cluster`.

Its first line of output is the SC's endpoint.  With `--control` and settings (for `LocalCluster`) it is
driven by JSON lines instead: a first line that tells the endpoints or why there are none, then one answer
for every order; it ends with its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from fluvio_sync._base import stdout
from fluvio_sync.testing._cluster.orders import carry_out
from fluvio_sync.testing._cluster.server import ClusterServer
from fluvio_sync.testing._serving import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DEFAULT_PORT = 9003
"""Where Fluvio's own SC listens."""

_MAX_ORDER = 1024 * 1024  # bytes of one line
_READ = 64 * 1024
_LOOK = 0.2  # seconds between two looks for signals where none ends the loop's wait


def main(argv: Sequence[str] | None = None) -> int:
    """Run a cluster until it is interrupted; returns the exit status.

    1 if it cannot start (it says why on standard error), else 0.
    """
    options = build_parser().parse_args(argv)
    try:
        server = _server(options)
    except (OSError, ValueError) as error:
        return _report(error, control=bool(options.control))
    for warning in server.warnings:
        sys.stderr.write(f"fluvio-sync dev-cluster: warning: {warning}\n")
    try:
        run(_run_by_orders(server) if options.control else _run(server))
    except stdout.OutputError as error:
        stdout.discard()
        sys.stderr.write(f"fluvio-sync dev-cluster: {error}\n")
        return 1
    return 0


async def _run(server: ClusterServer) -> None:
    with _stopped_by(server, signal.SIGINT, signal.SIGTERM):
        _say(server.endpoint)
        _say("This cluster is for development and tests. Ctrl-C ends it.")
        await server.serve()
    _say("The cluster has ended.")


async def _run_by_orders(server: ClusterServer) -> None:
    # Ctrl-C reaches the whole process group; the parent ends this process when it is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with _stopped_by(server, signal.SIGTERM):
        orders = asyncio.create_task(_obey(server))
        await server.serve()
        orders.cancel()


@contextmanager
def _stopped_by(server: ClusterServer, *numbers: signal.Signals) -> Iterator[None]:
    """Have signals stop the server."""
    loop = asyncio.get_running_loop()
    try:
        for number in numbers:
            loop.add_signal_handler(number, server.stop)
    except NotImplementedError:  # on Windows, where signals do not end the loop's wait either
        for number in numbers:
            signal.signal(number, lambda *_: server.stop())
        looking = asyncio.create_task(_look())
        try:
            yield
        finally:
            looking.cancel()
    else:
        yield


async def _look() -> None:
    while True:  # noqa: ASYNC110 - a signal sets no event
        await asyncio.sleep(_LOOK)


async def _obey(server: ClusterServer) -> None:
    """Carry out the orders on standard input until it ends, and end the server then."""
    orders = asyncio.StreamReader(limit=_MAX_ORDER)
    threading.Thread(target=_read, args=(orders, asyncio.get_running_loop()), name="orders", daemon=True).start()
    _say(json.dumps({"endpoint": server.endpoint, "spu_endpoints": server.spu_endpoints}))
    try:
        async for line in orders:
            _say(json.dumps(_answer(server, json.loads(line))))
    finally:
        server.stop()


def _read(orders: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
    """Read standard input in a thread: on Windows a loop waits for sockets alone.

    Without a buffered file, whose lock this thread would have when the interpreter ends, which aborts it.
    """
    with suppress(RuntimeError):  # the loop has ended
        while data := os.read(sys.stdin.fileno(), _READ):
            loop.call_soon_threadsafe(orders.feed_data, data)
        loop.call_soon_threadsafe(orders.feed_eof)


def _answer(server: ClusterServer, order: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        result = carry_out(server, order["order"], order["arguments"])
    except (ValueError, TypeError) as error:
        return {"id": order["id"], "error": str(error)}
    return {"id": order["id"], "result": result}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    parser = argparse.ArgumentParser(
        prog="fluvio-sync dev-cluster",
        description="Run a Fluvio cluster on this machine, for development and tests.",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        metavar="N",
        help="the SC's port; the SPUs take the ones that follow; 0: any free ones (default: %(default)s)",
    )
    parser.add_argument("--spus", metavar="N", type=int, default=1, help="how many SPUs (default: %(default)s)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen on, which clients are told; whoever reaches it can read and write everything "
        "(default: %(default)s, this machine alone)",
    )
    parser.add_argument("--data-dir", metavar="DIR", help="keep topics and records in this folder (default: in memory)")
    parser.add_argument("--strict", action="store_true", help="reject batches that only a faulty producer sends")
    parser.add_argument("--tls-cert", metavar="FILE", help="speak TLS: the servers' certificate chain (PEM)")
    parser.add_argument("--tls-key", metavar="FILE", help="its key, if it is not in the same file")
    parser.add_argument(
        "--tls-client-ca", metavar="FILE", help="demand certificates of this authority of the clients: mutual TLS"
    )
    parser.add_argument("--control", type=json.loads, metavar="SETTINGS", help=argparse.SUPPRESS)
    return parser


def _server(options: argparse.Namespace) -> ClusterServer:
    if options.control:
        return ClusterServer(**options.control)
    return ClusterServer(
        ports=[options.port + index if options.port else 0 for index in range(options.spus + 1)],
        host=options.host,
        data_dir=options.data_dir,
        strict=options.strict,
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
        tls_client_ca=options.tls_client_ca,
    )


def _report(error: OSError | ValueError, *, control: bool) -> int:
    if control:
        _say(json.dumps({"error": str(error)}))
        return 1
    reason = str(error)
    if isinstance(error, OSError):
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
        if error.errno == errno.EADDRINUSE:
            reason += "; is a cluster running already? --port chooses another, --port 0 any that is free"
    sys.stderr.write(f"fluvio-sync dev-cluster: {reason}\n")
    return 1


def _say(line: str) -> None:
    stdout.write(line + "\n")
    stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
