# SPDX-License-Identifier: Apache-2.0
"""What becomes of records: the parts behind futures and statistics."""
