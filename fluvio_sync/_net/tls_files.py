# SPDX-License-Identifier: Apache-2.0
"""The TLS context of a client, made anew when the files that it was made of have changed, as certificates are renewed.

Any thread.  Looking costs one `stat` for each file and connection.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fluvio_sync._net.dialling import is_of_application
from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    import ssl

    from fluvio_sync._base.log import Logger
    from fluvio_sync.tls import TlsConfig

Stamp = tuple[int, int, int] | None
"""When a file was changed, its size and its number; None if it cannot be looked at."""


class TlsFiles:
    """See the module's description."""

    def __init__(self, config: TlsConfig, context: ssl.SSLContext, stamps: list[Stamp], log: Logger) -> None:
        self._config = config
        self._log = log
        self._made = stamps, context  # replaced together: threads that connect at once may both make one
        self._reported = False

    @classmethod
    def read(cls, config: TlsConfig, log: Logger) -> TlsFiles | None:
        """Read the files; None for plain TCP.  Raises `ConfigError` if they cannot be used."""
        stamps = [_stamp(file) for file in config.files()]
        context = config.ssl_context()
        return None if context is None else cls(config, context, stamps, log)

    @property
    def check_hostname(self) -> bool:
        """Whether the name in a server's certificate is checked."""
        return self._made[1].check_hostname

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection; that of the files before, while those on disk cannot be used."""
        before, context = self._made
        stamps = [_stamp(file) for file in self._config.files()]  # first: what is written meanwhile is read next time
        if stamps == before:
            return context
        try:
            made = self._config.ssl_context()
        except (ConfigError, OSError) as error:
            if isinstance(error, OSError) and is_of_application(error):
                raise
            # A certificate that was replaced, and its key that is still to be, do not fit each other for a moment.
            if not self._reported:
                self._reported = True
                self._log.warning("tls.files_unusable", error=str(error))
            return context
        assert made is not None
        self._made = stamps, made
        self._reported = False
        self._log.info("tls.files_read_again")
        return made


def _stamp(file: str) -> Stamp:
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
