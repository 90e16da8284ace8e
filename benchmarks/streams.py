"""Benchmark of slow streams: CPU per token, and the number of streams that one process sustains."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from benchmarks.charts import write_bars
from benchmarks.comparison import running_comparison
from benchmarks.load import CPU_TICK, Streams, measure_streams

RATE = 25
"""Tokens per second of each stream."""
_MAX_PARALLEL_STREAMS = 100
"""Up to this number, baseline and system are measured at the same time: two cores suffice for both."""
_MAX_FIRST_TOKEN_SECONDS = 0.25
_MAX_GAP_SECONDS = 0.5

Measured = Mapping[tuple[int, str], Sequence[Streams]]
"""Runs by number of streams and name of the service, in the order of the rounds."""


def slow_streams(
    *, rounds: int = 4, streams: Sequence[int] = (50, 100, 200, 300), ramp: float = 4, steady: float = 5
) -> str:
    """Run the benchmark and return the report.

    The streams begin evenly within `ramp` seconds. CPU is measured in the `steady` seconds after that, in which no
    stream begins or ends.
    """
    tokens = round((ramp + steady + 4) * RATE)
    measured: defaultdict[tuple[int, str], list[Streams]] = defaultdict(list)
    with running_comparison(sessions=max(streams), tokens=tokens, rate=RATE) as comparison:
        for name in comparison.names:
            measure_streams(comparison.target(name, 2), ramp=0.1, steady=0.1, tokens=tokens)
        for _ in range(rounds):
            for count in streams:
                # At the same time or alternately, because the load of the machine varies.
                with ThreadPoolExecutor(len(comparison.names) if count <= _MAX_PARALLEL_STREAMS else 1) as pool:
                    targets = [comparison.target(name, count) for name in comparison.names]
                    measure = partial(measure_streams, ramp=ramp, steady=steady, tokens=tokens)
                    for name, run in zip(comparison.names, pool.map(measure, targets), strict=True):
                        measured[count, name].append(run)
    sentences = (
        f"{rounds} rounds. Up to {_MAX_PARALLEL_STREAMS} streams, baseline and system run at the same time,",
        f"above that alternately. Answers have {tokens} tokens, {RATE} per second, and begin within {ramp:g} s.",
        f"CPU is that of the service in the {steady:g} s after that, in which no stream begins or ends.",
    )
    return _report(measured, streams, comparison.names, " ".join(sentences))


def _report(measured: Measured, streams: Sequence[int], names: Sequence[str], extent: str) -> str:
    lines = [
        f"{extent} Values are medians of the rounds, with the lowest and the highest ratio in parentheses.",
        "",
        "| Streams | | CPU per token | core usage | tokens per second | first token, median | p99 | longest gap |",
        "|---|---|---|---|---|---|---|---|",
    ]
    bars = {}
    for count in streams:
        lines += [f"| {count} | {name} | {_row(measured[count, name])} |" for name in names]
        ratios = [
            _cost(system) / _cost(baseline)
            for baseline, system in zip(measured[count, "baseline"], measured[count, "system"], strict=True)
        ]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {count} | **ratio** | **{statistics.median(ratios):.2f}** {spread} | | | | | |")
        bars[f"{count} streams"] = {name: statistics.median(map(_cost, measured[count, name])) * 1e6 for name in names}
    return "\n".join(
        [
            *lines,
            "",
            _describe_limits(measured, streams, names),
            "",
            write_bars("streams", "CPU per streamed token", "µs", bars),
        ]
    )


def _describe_limits(measured: Measured, streams: Sequence[int], names: Sequence[str]) -> str:
    highest = {}
    for name in names:
        smooth = [count for count in streams if all(map(_is_smooth, measured[count, name]))]
        highest[name] = str(max(smooth)) if smooth else f"fewer than {min(streams)}"
    counts = ", ".join(f"{name} {count}" for name, count in highest.items())
    load = max(run.load_cpu / run.seconds for runs in measured.values() for run in runs)
    return (
        f"Highest number of streams with a first token under {_MAX_FIRST_TOKEN_SECONDS * 1000:.0f} ms (p99) and no gap"
        f" above {_MAX_GAP_SECONDS:g} s, in every round: {counts}."
        f" The load generator took at most {load:.0%} of a core."
    )


def _row(runs: Sequence[Streams]) -> str:
    cells = [
        f"{statistics.median(map(_cost, runs)) * 1e6:.0f} µs",
        f"{statistics.median(run.cpu / run.seconds for run in runs):.0%}",
        f"{statistics.median(run.tokens / run.seconds for run in runs):.0f}",
        f"{statistics.median(statistics.median(run.first) for run in runs) * 1000:.0f} ms",
        f"{statistics.median(_p99(run.first) for run in runs) * 1000:.0f} ms",
        f"{statistics.median(run.gap for run in runs):.2f} s",
    ]
    return " | ".join(cells)


def _cost(run: Streams) -> float:
    return max(run.cpu, CPU_TICK) / run.tokens


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]


def _is_smooth(run: Streams) -> bool:
    return _p99(run.first) < _MAX_FIRST_TOKEN_SECONDS and run.gap <= _MAX_GAP_SECONDS
