# SPDX-License-Identifier: Apache-2.0
"""The decisions: pure, so it imports no socket, thread, clock, randomness or log, and never `_net` or `_runtime`."""
