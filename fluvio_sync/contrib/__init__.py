# SPDX-License-Identifier: Apache-2.0
"""What makes it at home in other people's frameworks; each module needs the package that it is called after."""
