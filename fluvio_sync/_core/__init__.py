# SPDX-License-Identifier: Apache-2.0
"""Decisions about delivery.  Pure: imports no socket, thread, clock, randomness or log, nor `_net` or `_runtime`."""
