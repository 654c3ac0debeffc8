# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.contrib.django_project COMMAND`: the manage.py of the project."""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.contrib.django_project.settings")
    execute_from_command_line(["manage.py", *sys.argv[1:]])
