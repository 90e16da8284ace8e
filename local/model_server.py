"""OpenAI-compatible server for a small language model.

    python -m local.model_server --model FILE.gguf [--host 127.0.0.1] [--port 8004]

It imports nothing from this package: the container image of the model contains this file only.
"""

import argparse
import os
import signal
from pathlib import Path

# Read when the library is loaded. Its threads wait for each other hundreds of times per token. Where other processes
# need the cores too, busy waiting makes an answer of half a second take minutes.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import xllamacpp


def parameters(model: Path, host: str, port: int) -> xllamacpp.CommonParams:
    """Return server parameters for a model of about 100 million parameters and a few parallel requests."""
    values = xllamacpp.CommonParams()
    values.model.path = str(model)
    values.model_alias = {model.name.split(".")[0]}
    values.hostnames = [host]
    values.port = port
    values.n_ctx = 8192  # the context SmolLM2 was trained on, shared by parallel requests
    values.n_parallel = 4
    values.kv_unified = True
    values.cache_ram_mib = 0  # the default allows 8 GiB
    # The services run on the same cores, and a model of this size gains little from more threads.
    values.cpuparams.n_threads = max(1, (os.cpu_count() or 1) // 2)
    values.cpuparams_batch.n_threads = os.cpu_count() or 1
    values.cors_origins = ""
    # Without a penalty, a model of this size repeats itself and ignores earlier messages. Measured with SmolLM2-135M at
    # temperature 0: with 1.05 to 1.1 it recalls a name from the message before; with 1.0 it does not.
    values.sampling.penalty_repeat = 1.08
    values.sampling.penalty_last_n = 512
    return values


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="Serve a GGUF model with an OpenAI-compatible API.")
    parser.add_argument("--model", type=Path, required=True, help="path of the model, a GGUF file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8004)
    arguments = parser.parse_args()
    stop_signals = {signal.SIGTERM, signal.SIGINT}
    # Blocked before the server starts its threads, which inherit the mask: the signal would end the process otherwise.
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    server = xllamacpp.Server(parameters(arguments.model, arguments.host, arguments.port))
    print(f"listening on {server.listening_address}", flush=True)
    signal.sigwait(stop_signals)


if __name__ == "__main__":
    main()
