"""What a streamed token costs where each comes alone, and how many such streams one process can hold."""

import statistics
from collections import defaultdict

from benchmarks.charts import write_bars
from benchmarks.contenders import running_contenders
from benchmarks.load import Streams, measure_streams

ROUNDS = 2
STREAMS = (50, 100, 200, 300)
RATE = 25
"""Tokens a second of each stream."""
RAMP = 5.0
STEADY = 6.0
_LONGEST_FIRST = 0.25
_LONGEST_GAP = 0.5


def slow_streams(
    *,
    rounds: int = ROUNDS,
    streams: tuple[int, ...] = STREAMS,
    ramp: float = RAMP,
    steady: float = STEADY,
) -> str:
    """Measure it, and return the report."""
    # The last stream begins after the ramp, and the first one still runs when the steady time is over.
    tokens = round((ramp + steady + 4) * RATE)
    measured: defaultdict[tuple[int, str], list[Streams]] = defaultdict(list)
    with running_contenders(sessions=max(streams), tokens=tokens, rate=RATE) as contenders:
        for name in contenders.names:
            measure_streams(contenders.target(name, 2), ramp=0.1, steady=0.1, tokens=tokens)
        for _ in range(rounds):
            for count in streams:
                for name in contenders.names:  # in turns, because the machine's own noise comes and goes
                    result = measure_streams(contenders.target(name, count), ramp=ramp, steady=steady, tokens=tokens)
                    measured[count, name].append(result)
    lines = [
        f"{rounds} rounds, floor and system in turns. Answers of {tokens} tokens, {RATE} a second; the streams begin"
        f" within {ramp:g} s. CPU is the service's in the {steady:g} s in which none begins or ends. Each figure is the"
        " median of the rounds.",
        "",
        "| Streams | | CPU a token | of a core | tokens a second | first token, median | p99 | longest gap |",
        "|---|---|---|---|---|---|---|---|",
    ]
    bars = {}
    for count in streams:
        for name in contenders.names:
            lines.append(f"| {count} | {name} | {_row(measured[count, name])} |")
        ratios = [
            _cost(system) / _cost(floor)
            for floor, system in zip(measured[count, "floor"], measured[count, "system"], strict=True)
        ]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {count} | **ratio** | **{statistics.median(ratios):.2f}** {spread} | | | | | |")
        bars[f"{count} streams"] = {
            name: statistics.median(map(_cost, measured[count, name])) * 1e6 for name in contenders.names
        }
    held = {
        name: max((count for count in streams if all(map(_is_smooth, measured[count, name]))), default=0)
        for name in contenders.names
    }
    verdict = ", ".join(f"{name} {count or f'fewer than {min(streams)}'}" for name, count in held.items())
    lines += [
        "",
        f"Streams held with a first token under {_LONGEST_FIRST * 1000:.0f} ms (p99) and no gap over"
        f" {_LONGEST_GAP:g} s, in every round: {verdict}. The load generator took at most"
        f" {max(run.load_cpu / run.seconds for runs in measured.values() for run in runs):.0%} of a core.",
        "",
        write_bars("streams", "CPU of a streamed token", "µs", bars),
    ]
    return "\n".join(lines)


def _row(runs: list[Streams]) -> str:
    def median(values: list[float]) -> float:
        return statistics.median(values)

    cells = [
        f"{median([_cost(run) for run in runs]) * 1e6:.0f} µs",
        f"{median([run.cpu / run.seconds for run in runs]):.0%}",
        f"{median([run.tokens / run.seconds for run in runs]):.0f}",
        f"{median([statistics.median(run.first) for run in runs]) * 1000:.0f} ms",
        f"{median([_p99(run.first) for run in runs]) * 1000:.0f} ms",
        f"{median([run.gap for run in runs]):.2f} s",
    ]
    return " | ".join(cells)


def _cost(run: Streams) -> float:
    return run.cpu / run.tokens


def _p99(values: list[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]


def _is_smooth(run: Streams) -> bool:
    return _p99(run.first) < _LONGEST_FIRST and run.gap <= _LONGEST_GAP
