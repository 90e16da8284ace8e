"""Serves a small language model with an OpenAI-compatible API.

    python -m local.model_server --model FILE.gguf [--host 127.0.0.1] [--port 8004]

It needs nothing of the rest of this package: the container image of the model has only this file of it.
"""

import argparse
import os
import signal
from pathlib import Path

# Read when the library is loaded. Its threads wait for each other hundreds of times a token; where other programs want
# the cores too, waiting busily turns an answer of half a second into one of minutes.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import xllamacpp


def parameters(model: Path, host: str, port: int) -> xllamacpp.CommonParams:
    """Return the server's parameters for a model of some 100 million parameters that talks to a few people."""
    values = xllamacpp.CommonParams()
    values.model.path = str(model)
    values.model_alias = {model.name.split(".")[0]}
    values.hostnames = [host]
    values.port = port
    values.n_ctx = 8192  # what SmolLM2 was trained on, shared by those who are answered at the same time
    values.n_parallel = 4
    values.kv_unified = True
    values.cache_ram_mib = 0  # up to 8 GiB otherwise
    # The rest of the system runs on the same cores, and so small a model gains little from more of them.
    values.cpuparams.n_threads = max(1, (os.cpu_count() or 1) // 2)
    values.cpuparams_batch.n_threads = os.cpu_count() or 1
    values.cors_origins = ""
    # Without it, a model of this size repeats itself and forgets what it was told. Measured with SmolLM2-135M: between
    # 1.05 and 1.1 and at temperature 0 it knows a name it was told one message before; at 1.0 it does not.
    values.sampling.penalty_repeat = 1.08
    values.sampling.penalty_last_n = 512
    return values


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="Serve a GGUF model with an OpenAI-compatible API.")
    parser.add_argument("--model", type=Path, required=True, help="the model, a GGUF file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8004)
    arguments = parser.parse_args()
    end_signals = {signal.SIGTERM, signal.SIGINT}
    # Before the server starts its threads, which inherit it: one of theirs would die of the signal otherwise.
    signal.pthread_sigmask(signal.SIG_BLOCK, end_signals)
    server = xllamacpp.Server(parameters(arguments.model, arguments.host, arguments.port))
    print(f"listening on {server.listening_address}", flush=True)
    signal.sigwait(end_signals)


if __name__ == "__main__":
    main()
