# SPDX-License-Identifier: Apache-2.0
"""Bytes and timeouts: connections to one server each.  It never imports `_core` or `_runtime`."""
