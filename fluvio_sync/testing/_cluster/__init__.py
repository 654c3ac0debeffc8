# SPDX-License-Identifier: Apache-2.0
"""The modules of the development cluster: `core` and the modules under it are pure, only the others have effects.

Pure means no socket, thread, clock, log or asyncio; `partition_log` may also keep files.  `server` (sockets),
`thread` and `process` run the core; `tls` makes contexts; `orders` are the commands that both take.
"""
