# SPDX-License-Identifier: Apache-2.0
"""Checks of settings: it imports `_base`, `errors` and `tls`, and opens nothing."""
