# SPDX-License-Identifier: Apache-2.0
"""The configuration of gunicorn, which reads it when it runs `gunicorn 'app:create_app()'` in this folder.

With `preload_app` gunicorn makes the application once and forks the workers from it. The client needs no hook for that:
it connects in each worker at its first use, and a client that was used before the fork connects anew in the child. A
worker that ends delivers its queued records within the client's `exit_timeout` (5 s), so `graceful_timeout` has to be
longer.
"""

preload_app = True
workers = 2
worker_class = "gthread"
threads = 4
max_requests = 1000
max_requests_jitter = 100
graceful_timeout = 30
