# SPDX-License-Identifier: Apache-2.0
"""The ground: clock, log, text and threads; it stands on the standard library and `errors` alone."""
