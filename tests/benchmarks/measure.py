"""Runs a case: floor, ours and peers in turn, round by round, so that all see the same machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median

from tests.benchmarks.cases import Case, Measure, Row
from tests.benchmarks.peer import PeerFailed

PEER_ROUNDS = 3  #: peers are slow, and far off

Rounds = list[Mapping[str, float]]


def measure(
    case: Case, runs: int, note: Callable[[str], None], peer_runs: int = PEER_ROUNDS
) -> list[Row]:
    """Measures one case so many times; `note` is told what runs now."""
    floors: Rounds = []
    ours: Rounds = []
    peers: dict[str, Rounds] = {name: [] for name in case.peers}
    for number in range(runs):
        _run("floor", case.floor, floors, number, note)
        _run("ours", case.ours, ours, number, note)
        for name, peer in case.peers.items():
            if number < peer_runs:
                _try(name, peer, peers[name], number, note)
    return [_row(case, figure, floors, ours, peers) for figure in ours[0]]


def _run(
    name: str, run: Measure | None, results: Rounds, number: int, note: Callable[[str], None]
) -> None:
    if run is not None:
        note(f"round {number + 1}: {name}")
        results.append(run())


def _try(
    name: str, run: Measure, results: Rounds, number: int, note: Callable[[str], None]
) -> None:
    """Runs a peer; the host's own figures do not depend on it."""
    try:
        _run(name, run, results, number, note)
    except PeerFailed as error:
        note(f"{name} is left out: {error}\n")


def _row(case: Case, figure: str, floors: Rounds, ours: Rounds, peers: Mapping[str, Rounds]) -> Row:
    mine = [figures[figure] for figures in ours]
    known = case.floors.get(figure)
    floor = [known] * len(mine) if known is not None else [f[figure] for f in floors]
    ratio = median(a / b for a, b in zip(mine, floor, strict=True)) if floor else None
    rates = {name: median(f[figure] for f in rounds) for name, rounds in peers.items() if rounds}
    goal, met = _judge(case, figure, median(mine) if ratio is None else ratio, rates, median(mine))
    return Row(
        case=case.name,
        figure=figure,
        unit=case.units.get(figure, case.unit),
        floor=median(floor) if floor else None,
        ours=median(mine),
        of_floor=ratio,
        goal=goal,
        met=met,
        peers=rates,
    )


def _judge(
    case: Case, figure: str, value: float, rates: Mapping[str, float], mine: float
) -> tuple[str, bool | None]:
    """Returns the goals as text and whether all of them hold; None when there are none."""
    wanted, verdicts = [], []
    if figure in case.goals:
        wanted.append(str(case.goals[figure]))
        verdicts.append(case.goals[figure].holds(value))
    for peer, times in case.ahead.items():
        if peer in rates:
            wanted.append(f"{times:g} x {peer}")
            verdicts.append(mine >= times * rates[peer])
    return ", ".join(wanted), all(verdicts) if verdicts else None
