# SPDX-License-Identifier: Apache-2.0
"""Four functions that the face of the library does not have yet; the only place of contrib that knows the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future

    from fluvio_sync.client import Fluvio
    from fluvio_sync.futures import RecordMetadata


def check_size(key: bytes | None, value: bytes, limit: int) -> None:
    """Raise `RecordTooLargeError` for a record whose batch would be larger than `limit` bytes."""
    from fluvio_sync import _channel  # noqa: PLC0415 - until the producer's module has it

    _channel.check_size(key, value, limit)


def waits_for_fork(client: Fluvio) -> bool:
    """Return whether this process is to fork its workers first, as uWSGI's master, and must not start a thread."""
    return client._session.waits_for_fork()  # noqa: SLF001


def leave_open_at_exit(client: Fluvio) -> None:
    """Have a connected client left open by the interpreter's end, because its owner closes it after that."""
    from fluvio_sync import _exit  # noqa: PLC0415 - until the client's module has it

    engine = client._session.present()  # noqa: SLF001
    if engine is not None:
        _exit.remove_engine(engine)


def error_of(future: Future[RecordMetadata]) -> Exception | None:
    """Return the error of a resolved future without having it count as seen: a `with` block raises unseen ones."""
    outcome, index = future._locate()  # type: ignore[attr-defined]  # noqa: SLF001
    return None if outcome.failure is None else outcome.failure(index)
