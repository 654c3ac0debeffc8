# SPDX-License-Identifier: Apache-2.0
"""`python -m fluvio_sync`: the command `fluvio-sync`."""

import sys

from fluvio_sync.cli import main

if __name__ == "__main__":
    sys.exit(main())
