"""What a streamed token costs where each comes alone, and how many such streams one process can hold."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from benchmarks.charts import write_bars
from benchmarks.comparison import running_comparison
from benchmarks.load import CPU_TICK, Streams, measure_streams

RATE = 25
"""Tokens a second of each stream."""
_AT_ONCE = 100
"""So many streams of floor and system each fit on two cores at the same time, and meet the same noise."""
_LONGEST_FIRST = 0.25
_LONGEST_GAP = 0.5

Measured = Mapping[tuple[int, str], Sequence[Streams]]
"""The runs of each number of streams and contender, in the order of the rounds."""


def slow_streams(
    *, rounds: int = 4, streams: Sequence[int] = (50, 100, 200, 300), ramp: float = 4, steady: float = 5
) -> str:
    """Measure it, and return the report.

    The streams begin one after the other within `ramp` seconds; CPU is counted for `steady` seconds after that, in
    which none begins or ends.
    """
    tokens = round((ramp + steady + 4) * RATE)
    measured: defaultdict[tuple[int, str], list[Streams]] = defaultdict(list)
    with running_comparison(sessions=max(streams), tokens=tokens, rate=RATE) as contenders:
        for name in contenders.names:
            measure_streams(contenders.target(name, 2), ramp=0.1, steady=0.1, tokens=tokens)
        for _ in range(rounds):
            for count in streams:
                # At once or in turns, because the machine's own noise comes and goes.
                with ThreadPoolExecutor(len(contenders.names) if count <= _AT_ONCE else 1) as measuring:
                    targets = [contenders.target(name, count) for name in contenders.names]
                    measure = partial(measure_streams, ramp=ramp, steady=steady, tokens=tokens)
                    for name, run in zip(contenders.names, measuring.map(measure, targets), strict=True):
                        measured[count, name].append(run)
    extent = f"{rounds} rounds. Up to {_AT_ONCE} streams floor and system run at the same time, with more in turns."
    extent = f"{extent} Answers of {tokens} tokens, {RATE} a second, begun within"
    extent = f"{extent} {ramp:g} s; CPU is the service's in the {steady:g} s after that, in which none begins or ends."
    return _report(measured, streams, contenders.names, extent)


def _report(measured: Measured, streams: Sequence[int], names: Sequence[str], extent: str) -> str:
    lines = [
        f"{extent} Each figure is the median of the rounds, in parentheses the lowest and the highest ratio.",
        "",
        "| Streams | | CPU a token | of a core | tokens a second | first token, median | p99 | longest gap |",
        "|---|---|---|---|---|---|---|---|",
    ]
    bars = {}
    for count in streams:
        lines += [f"| {count} | {name} | {_row(measured[count, name])} |" for name in names]
        ratios = [
            _cost(system) / _cost(floor)
            for floor, system in zip(measured[count, "floor"], measured[count, "system"], strict=True)
        ]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {count} | **ratio** | **{statistics.median(ratios):.2f}** {spread} | | | | | |")
        bars[f"{count} streams"] = {name: statistics.median(map(_cost, measured[count, name])) * 1e6 for name in names}
    return "\n".join(
        [
            *lines,
            "",
            _verdict(measured, streams, names),
            "",
            write_bars("streams", "CPU of a streamed token", "µs", bars),
        ]
    )


def _verdict(measured: Measured, streams: Sequence[int], names: Sequence[str]) -> str:
    held = {}
    for name in names:
        smooth = [count for count in streams if all(map(_is_smooth, measured[count, name]))]
        held[name] = str(max(smooth)) if smooth else f"fewer than {min(streams)}"
    load = max(run.load_cpu / run.seconds for runs in measured.values() for run in runs)
    return (
        f"Streams held with a first token under {_LONGEST_FIRST * 1000:.0f} ms (p99) and no gap over"
        f" {_LONGEST_GAP:g} s, in every round: {', '.join(f'{name} {count}' for name, count in held.items())}."
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
    return _p99(run.first) < _LONGEST_FIRST and run.gap <= _LONGEST_GAP
