"""Benchmark of stored turns: a question and its answer in one response, with a provider that responds immediately."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence

from benchmarks.charts import write_bars
from benchmarks.comparison import running_comparison
from benchmarks.load import CPU_TICK, Turns, measure_turns

CLIENTS = (1, 32)
_WARM_UP = 50
_SETTINGS = {
    # The cache is read and written as in production, without hits: no question is asked twice.
    "LLM_CACHE_TTL": "3600",
    # Summaries are additional model calls after the turn.
    "LLM_SUMMARY_ENABLED": "false",
    "LLM_TITLE_ENABLED": "false",
}

Measured = Mapping[tuple[int, str], Sequence[Turns]]
"""Runs by number of clients and name of the service, in the order of the rounds."""


def stored_turns(*, rounds: int = 9, turns: int = 640) -> str:
    """Run the benchmark with `turns` turns per service and round, and return the report."""
    measured: defaultdict[tuple[int, str], list[Turns]] = defaultdict(list)
    with running_comparison(sessions=max(CLIENTS), tokens=40, settings=_SETTINGS) as comparison:
        for name in comparison.names:
            measure_turns(comparison.target(name, 1), min(_WARM_UP, turns))
        for _ in range(rounds):
            for clients in CLIENTS:
                for name in comparison.names:  # alternately, because the load of the machine varies
                    target = comparison.target(name, clients)
                    measured[clients, name].append(measure_turns(target, max(turns // clients, 1)))
    return _report(measured, comparison.names, f"{rounds} rounds of {turns} turns each")


def _report(measured: Measured, names: Sequence[str], extent: str) -> str:
    extent = f"{extent}, alternately baseline and system. A client asks its next question after the answer."
    medians = "Values are medians of the rounds, with the lowest and highest ratio in parentheses."
    lines = [
        f"{extent} CPU is that of the service. {medians}",
        "",
        "| Clients | | CPU per turn | median | p99 | turns per second and core |",
        "|---|---|---|---|---|---|",
    ]
    bars = {}
    for clients in CLIENTS:
        lines += [f"| {clients} | {name} | {_row(measured[clients, name])} |" for name in names]
        ratios = [
            _cost(system) / _cost(baseline)
            for baseline, system in zip(measured[clients, "baseline"], measured[clients, "system"], strict=True)
        ]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {clients} | **ratio** | **{statistics.median(ratios):.2f}** {spread} | | | |")
        bars["1 client" if clients == 1 else f"{clients} clients"] = {
            name: statistics.median(map(_cost, measured[clients, name])) * 1000 for name in names
        }
    return "\n".join([*lines, "", write_bars("turns", "CPU per stored turn", "ms", bars)])


def _row(runs: Sequence[Turns]) -> str:
    cost = statistics.median(map(_cost, runs))
    median = statistics.median(statistics.median(run.seconds) for run in runs)
    p99 = statistics.median(_p99(run.seconds) for run in runs)
    return f"{cost * 1000:.2f} ms | {median * 1000:.1f} ms | {p99 * 1000:.1f} ms | {1 / cost:.0f}"


def _cost(run: Turns) -> float:
    return max(run.cpu, CPU_TICK) / len(run.seconds)


def _p99(seconds: Sequence[float]) -> float:
    return sorted(seconds)[len(seconds) * 99 // 100]
