# SPDX-License-Identifier: Apache-2.0
"""Reads logs back, to look at them: it knows the network and the protocol, and no delivery rule."""
