"""The table at the end of a run."""

from __future__ import annotations

from tests.failures.figures import Figures, table
from tests.failures.verdict import Handling, Limits, judge


def test_each_run_is_a_line_of_the_table() -> None:
    figures = Figures()
    verdict = judge({"a"}, {"a"}, [Handling("a", 1, 1), Handling("a", 2, 1)], 0, Limits(1, 24))
    figures.add("host killed", "redis", 1000, 2, verdict, ["seed 7"])
    lost = judge({"a"}, {"a"}, [], 0, Limits(1, 24))
    figures.add("cut", "amqp", 5, 10, lost)
    assert table(figures.rows) == [
        "scenario     driver  messages  faults  lost  duplicates  bound  verdict",
        "host killed  redis       1000       2     0           1     24  kept"
        "     1 attempts charged, seed 7",
        "cut          amqp           5      10     1           0     24  FAILED",
    ]
