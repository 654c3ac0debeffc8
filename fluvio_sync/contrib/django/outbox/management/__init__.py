# SPDX-License-Identifier: Apache-2.0
"""Where Django looks for the commands of this app."""
