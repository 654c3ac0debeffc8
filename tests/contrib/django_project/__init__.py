# SPDX-License-Identifier: Apache-2.0
"""A Django project for the tests: its settings come from the environment."""
