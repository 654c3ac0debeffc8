# SPDX-License-Identifier: Apache-2.0
"""Whether the modules that records pass through are compiled; this one is compiled with them."""

from typing import Final

COMPILED: Final = not __file__.endswith(".py")
