# SPDX-License-Identifier: Apache-2.0
"""Locks, threads, fork and exit: the only folder that knows both `_core` and `_net`."""
