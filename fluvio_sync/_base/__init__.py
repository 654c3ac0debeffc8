# SPDX-License-Identifier: Apache-2.0
"""Clock, log, text and threads, for all other folders.  It imports the standard library alone."""
