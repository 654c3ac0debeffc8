# SPDX-License-Identifier: Apache-2.0
"""The development cluster as a process: `fluvio-sync dev-cluster`.

Its first line of output is the SC's endpoint.  With `--control` (for `LocalCluster`) it is driven
by JSON lines instead: a first line that tells the endpoints or why there are none, then one answer
for every order; it ends with its standard input.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fluvio_sync.testing._cluster.orders import carry_out
from fluvio_sync.testing._cluster.server import ClusterServer

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_PORT = 9003
"""Where Fluvio's own SC listens."""

_READ = 65536


def main(argv: Sequence[str] | None = None) -> int:
    """Run a cluster until it is interrupted; returns the exit status.

    1 if it cannot start (it says why on standard error), else 0.
    """
    options = _parser().parse_args(argv)
    try:
        server = _server(options)
    except (OSError, ValueError) as error:
        return _refuse(error, control=options.control)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: server.stop())
    if options.control:
        # Ctrl-C reaches the whole process group; the parent ends this process when it is done.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _Control(server)
        server.run()
        return 0
    _say(server.endpoint)
    _say("This cluster is for development and tests. Ctrl-C ends it.")
    server.run()
    _say("The cluster has ended.")
    return 0


def _parser() -> argparse.ArgumentParser:
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
        "--host", default="127.0.0.1", help="where to listen, and what clients are told (default: %(default)s)"
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", type=Path, help="keep topics and records in this folder (default: in memory)"
    )
    parser.add_argument("--strict", action="store_true", help="refuse batches that only a faulty producer sends")
    parser.add_argument("--tls-cert", metavar="FILE", help="speak TLS: the servers' certificate chain (PEM)")
    parser.add_argument("--tls-key", metavar="FILE", help="its key, if it is not in the same file")
    parser.add_argument(
        "--tls-client-ca", metavar="FILE", help="demand certificates of this authority of the clients: mutual TLS"
    )
    for hidden in ("--ports", "--platform", "--sc-version", "--spu-version"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--control", action="store_true", help=argparse.SUPPRESS)
    return parser


def _server(options: argparse.Namespace) -> ClusterServer:
    if options.spus < 1:
        raise ValueError(f"a cluster has at least one SPU, not {options.spus}")
    if options.ports:
        ports = [int(port) for port in options.ports.split(",")]
    else:
        ports = [options.port + index if options.port else 0 for index in range(options.spus + 1)]
    settings = {}
    if options.platform:
        settings["platform"] = options.platform
    if options.sc_version:
        settings["sc_version"] = int(options.sc_version)
    if options.spu_version:
        settings["spu_version"] = int(options.spu_version)
    return ClusterServer(
        ports=ports,
        host=options.host,
        data_dir=options.data_dir,
        strict=options.strict,
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
        tls_client_ca=options.tls_client_ca,
        **settings,
    )


def _refuse(error: OSError | ValueError, *, control: bool) -> int:
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
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class _Control:
    """The control channel: standard input and output, read in the server's thread."""

    def __init__(self, server: ClusterServer) -> None:
        self._server = server
        self._input = sys.stdin.fileno()
        self._received = b""
        server.add_reader(self._input, self._read)
        _say(json.dumps({"endpoint": server.endpoint, "spu_endpoints": server.spu_endpoints}))

    def _read(self) -> None:
        data = os.read(self._input, _READ)
        if not data:
            self._server.remove_reader(self._input)
            self._server.stop()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            _say(json.dumps(self._answer(line)))

    def _answer(self, line: bytes) -> dict[str, object]:
        order = json.loads(line)
        try:
            result = carry_out(self._server, order["order"], order["arguments"])
        except (ValueError, TypeError) as error:
            return {"id": order["id"], "error": str(error)}
        return {"id": order["id"], "result": result}


if __name__ == "__main__":
    sys.exit(main())
