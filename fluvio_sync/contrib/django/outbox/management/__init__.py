# SPDX-License-Identifier: Apache-2.0
"""The package in which Django looks for the commands of this app."""
