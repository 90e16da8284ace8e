"""What a stored turn costs: a question and its answer in one piece, of a provider that answers at once."""

import statistics
from collections import defaultdict

from benchmarks.charts import write_bars
from benchmarks.contenders import running_contenders
from benchmarks.load import Turns, measure_turns

ROUNDS = 4
TURNS = 400
"""Of each contender in each round."""
CLIENTS = (1, 32)
_WARM_UP = 50


def stored_turns(*, rounds: int = ROUNDS, turns: int = TURNS) -> str:
    """Measure it, and return the report."""
    measured: defaultdict[tuple[int, str], list[Turns]] = defaultdict(list)
    with running_contenders(sessions=max(CLIENTS), tokens=40) as contenders:
        for name in contenders.names:
            measure_turns(contenders.target(name, 1), min(_WARM_UP, turns))
        for _ in range(rounds):
            for clients in CLIENTS:
                for name in contenders.names:  # in turns, because the machine's own noise comes and goes
                    target = contenders.target(name, clients)
                    measured[clients, name].append(measure_turns(target, max(turns // clients, 1)))
    lines = [
        f"{rounds} rounds of {turns} turns each, floor and system in turns; a client asks its next question when it has"
        " the answer. CPU is the service's, medians of the rounds.",
        "",
        "| Clients at once | | CPU a turn | median | p99 | turns a second of one core |",
        "|---|---|---|---|---|---|",
    ]
    bars = {}
    for clients in CLIENTS:
        cpu = {name: _cpu(measured[clients, name]) for name in contenders.names}
        for name in contenders.names:
            seconds = sorted(second for run in measured[clients, name] for second in run.seconds)
            lines.append(
                f"| {clients} | {name} | {cpu[name] * 1000:.2f} ms | {statistics.median(seconds) * 1000:.1f} ms "
                f"| {seconds[len(seconds) * 99 // 100] * 1000:.1f} ms | {1 / cpu[name]:.0f} |"
            )
        ratios = [
            _cpu([system]) / _cpu([floor])
            for floor, system in zip(measured[clients, "floor"], measured[clients, "system"], strict=True)
        ]
        lines.append(
            f"| {clients} | **ratio** | **{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f}) "
            "| | | |"
        )
        bars["1 client" if clients == 1 else f"{clients} clients"] = {name: cpu[name] * 1000 for name in cpu}
    return "\n".join([*lines, "", write_bars("turns", "CPU of a stored turn", "ms", bars)])


def _cpu(runs: list[Turns]) -> float:
    return statistics.median(run.cpu / len(run.seconds) for run in runs)
