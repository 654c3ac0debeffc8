# SPDX-License-Identifier: Apache-2.0
"""Fluvio's wire protocol: bytes to values and back, without I/O.

Every module here is pure: none imports a socket, a thread, a clock, randomness or a log.  Only the caches of constants,
which are filled at import, keep state between calls, so any thread may use any function; the objects that hold state
(`Reader`, `Writer`, `FrameReader`, `BatchBuilder`) belong to one thread at a time.

From the ground up: `primitives` has numbers and strings, `layout` has values made of them, `message` has the base of
classes that declare their layout; all other modules describe Fluvio's own messages.

For any bytes, decoding ends in a value or in `fluvio_sync.errors.ProtocolError`.  It checks each received count and
length against the bytes that are there before it allocates or loops by it.
"""
