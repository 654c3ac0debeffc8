# SPDX-License-Identifier: Apache-2.0
"""Checks of settings.  It imports `_base`, `errors` and `tls`, and opens nothing."""
