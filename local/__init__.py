"""The whole system on one machine, without Docker: the same parts as production, from packages.

`python -m local run` starts and supervises them. The same parts serve as a library, to the tests for example. Public:

- `local.postgres.Postgres` and `local.redis.Redis`: a server on a Unix socket, with `start()`, `stop()` and `url`;
- `local.stack.Stack`: everything behind the gateway, with `start()`, `stop()` and `url`;
- `local.watchdog.Watchdog`: ends what was started under a directory when this process is killed;
- `local.process.ComponentFailedError`: what they raise.

Each takes its `home`, a directory that holds everything it writes: data, sockets, logs, process records.
"""
