"""Local stack: the whole system on one machine without Docker, with servers from Python packages.

`python -m local run` starts and supervises all components. Tests and benchmarks use the package as a library. Public:

- `local.postgres.Postgres` and `local.redis.Redis`: a server on a Unix socket, with `start()`, `stop()` and `url`;
- `local.stack.Stack`: all components behind Nginx, with `start()`, `stop()` and `url`;
- `local.watchdog.Watchdog`: ends the stack's processes when the process that started them is killed;
- `local.process.ComponentFailedError`: raised by `start()`.

Each takes `home`, the state directory, which holds everything that it writes: data, sockets, logs, process records.
"""
