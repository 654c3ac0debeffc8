# SPDX-License-Identifier: Apache-2.0
"""Integrations with frameworks, on the face of the library; each module needs the package that it is named after."""
