# SPDX-License-Identifier: Apache-2.0
"""Locks, threads, fork and exit: the only folder that imports both `_core` and `_net`."""
