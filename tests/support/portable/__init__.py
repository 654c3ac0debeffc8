# SPDX-License-Identifier: Apache-2.0
"""A folder for PYTHONPATH, whose `sitecustomize` makes Python miss what Windows does not have."""
