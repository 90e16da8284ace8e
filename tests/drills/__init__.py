"""Faults under load: kills, outages and lost connections. At full size they also measure delays."""

import os

FULL_SIZE = os.environ.get("DRILLS") == "full"
"""Whether to run at full size (`make drills`). Otherwise the tests are short enough for `make test`, and tolerate a
busy machine: they check what happens, not how long it takes."""
