"""That every case runs and gives figures, in sizes that say nothing about speed."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks import report
from tests.benchmarks.brokers import Brokers
from tests.benchmarks.cases import Case, Row, Scale, at_least, at_most
from tests.benchmarks.measure import measure
from tests.benchmarks.peer import PeerFailed
from tests.benchmarks.run import GROUPS, measure_groups

TINY = Scale(0.001)


@pytest.fixture(scope="module")
def brokers() -> Iterator[Brokers]:
    with Brokers() as started:
        yield started


@pytest.mark.network
@pytest.mark.parametrize("group", GROUPS)
def test_every_case_of_a_group_gives_figures(group: str, brokers: Brokers) -> None:
    rows = measure_groups([group], TINY, runs=1, brokers=brokers, peer_runs=0)

    assert rows
    for row in rows:
        assert row.ours > 0, row
        assert row.floor is None or row.floor > 0, row
        assert (row.met is None) == (not row.goal), row


def steps(*figures: float) -> list[dict[str, float]]:
    return [{"": figure} for figure in figures]


def test_a_ratio_is_that_of_the_same_round() -> None:
    ours, floor = iter(steps(10, 200, 30)), iter(steps(20, 200, 60))
    case = Case("case", lambda: next(ours), lambda: next(floor), goals={"": at_least(0.6)})

    (row,) = measure(case, 3, lambda _text: None)

    assert (row.ours, row.floor, row.of_floor) == (30, 60, 0.5)
    assert (row.goal, row.met) == (">= 0.6", False)


def test_a_figure_without_a_floor_is_held_against_its_goal() -> None:
    case = Case("case", lambda: {"p50": 3.0, "p99": 9.0}, goals={"p99": at_most(10)})

    p50, p99 = measure(case, 1, lambda _text: None)

    assert (p50.title, p50.met) == ("case, p50", None)
    assert (p99.title, p99.met) == ("case, p99", True)


def test_a_peer_is_to_be_beaten_and_one_that_fails_is_left_out() -> None:
    def fail() -> dict[str, float]:
        raise PeerFailed("no broker")

    notes: list[str] = []
    peers = {"slow": lambda: {"": 10.0}, "broken": fail}
    case = Case("case", lambda: {"": 50.0}, peers=peers, ahead={"slow": 8, "broken": 1})

    (row,) = measure(case, 1, notes.append)

    assert row.peers == {"slow": 10.0}
    assert (row.goal, row.met) == ("8 x slow", False)
    assert any("no broker" in note for note in notes)


ROWS = [
    Row("drain", "", "messages/s", 2000.0, 1234.5, 0.62, ">= 0.5", met=True, peers={"other": 9.5}),
    Row("publish to handler, memory", "p99", "ms", None, 1.25, None, "<= 1", met=False),
]


def test_the_table_shows_floors_figures_peers_and_what_was_missed() -> None:
    lines = report.as_table(ROWS).splitlines()

    assert re.split(r"  +", lines[1]) == [
        "drain (messages/s)", "2,000", "1,234", "0.62", ">= 0.5", "other 9.5"
    ]  # fmt: skip
    assert lines[2].endswith("1.25                <= 1 (missed)")
    assert json.loads(report.as_json(ROWS))["rows"][0]["ours"] == 1234.5


def test_the_page_gets_the_table_and_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "HERE", tmp_path)
    (tmp_path / "README.md").write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")

    report.write(ROWS, runs=5)

    page = (tmp_path / "README.md").read_text()
    assert page.startswith(f"before\n{report.BEGIN}")
    assert page.endswith(f"{report.END}\nafter\n")
    assert "old" not in page
    assert "| drain (messages/s) | 2,000 | 1,234 | 0.62 | >= 0.5 | other 9.5 |" in page
    for name, bars in {"throughput.svg": 3, "latency.svg": 1}.items():
        drawing = ET.parse(tmp_path / name)  # noqa: S314 - our own
        assert len(drawing.findall("{*}rect")) == bars + 1
