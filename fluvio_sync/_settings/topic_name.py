# SPDX-License-Identifier: Apache-2.0
"""The rule for names of topics.

Pure: no socket, thread, clock, randomness or log.
"""

from __future__ import annotations

import re

from fluvio_sync._base.text import shown
from fluvio_sync.errors import ConfigError

LONGEST_NAME = 63
_WRONG = re.compile(r"[^a-z0-9-]")


def check_topic_name(name: str) -> None:
    """Raise ConfigError unless an SC (Streaming Controller) would accept `name` for a topic.

    1 to 63 characters of a-z, 0-9 and "-", neither the first nor the last of them a "-".
    """
    if not isinstance(name, str):
        raise ConfigError(f"a topic's name is a string, not {shown(name)}")
    wrong = _WRONG.search(name)
    if not name:
        problem = "it is empty"
    elif len(name) > LONGEST_NAME:
        problem = f"it has {len(name)} characters, {LONGEST_NAME} are allowed"
    elif wrong is not None:
        problem = f"it contains {wrong.group()!r}, only a-z, 0-9 and '-' are allowed"
    elif name.startswith("-") or name.endswith("-"):
        problem = "it may not begin or end with '-'"
    else:
        return
    raise ConfigError(f"{shown(name)} cannot be a topic's name: {problem}")
