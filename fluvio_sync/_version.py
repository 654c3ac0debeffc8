# SPDX-License-Identifier: Apache-2.0
"""The version of the package, in the one place that packaging and the client read."""

__version__ = "0.1.0"
