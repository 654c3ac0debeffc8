# SPDX-License-Identifier: Apache-2.0
"""How gunicorn runs the application: `gunicorn 'app:create_app()'` in this folder reads this file.

With `preload_app` the application is made once and the workers are forked from it. Nothing has to be done for that: the
client connects in each worker at its first use, and a client that was used before the fork starts afresh in the child.
A worker that ends delivers what it was given, within the client's `exit_timeout` (5 s), which `graceful_timeout` has to
leave room for.
"""

preload_app = True
workers = 2
worker_class = "gthread"
threads = 4
max_requests = 1000
max_requests_jitter = 100
graceful_timeout = 30
