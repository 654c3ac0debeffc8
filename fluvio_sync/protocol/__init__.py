# SPDX-License-Identifier: Apache-2.0
"""Fluvio's wire protocol: bytes to values and back, without I/O.

Every module here is pure: none imports a socket, a thread, a clock, randomness or a log.  Nothing
keeps state between calls but the caches of constants that are filled at import, so any thread may
use any function; the objects that hold state (`Reader`, `Writer`, `FrameReader`, `BatchBuilder`)
belong to one thread at a time.

From the ground up: `primitives` has the numbers and strings, `layout` what is made of them, `message` the classes that
declare how they are laid out; all others are about Fluvio's own things.

Whatever bytes arrive, decoding ends in a value or in `fluvio_sync.errors.ProtocolError`, and never
allocates or loops by a number that it was told before that number is checked against the bytes that
are there.
"""
