"""The figures of the runs with faults: a table at the end of a test run, one line for each run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass

from tests.failures.verdict import Verdict

HEAD = ("scenario", "driver", "messages", "faults", "lost", "duplicates", "bound", "verdict", "")


@dataclass(frozen=True, slots=True)
class Row:
    """One run: what happened in it, and what became of the messages.

    `bound` is how many duplicates there may be, beside those that `remarks` counts as stored twice.
    """

    scenario: str
    driver: str
    messages: int
    faults: int
    lost: int
    duplicates: int
    bound: int
    verdict: str
    remarks: str = ""


def word(failures: int) -> str:
    """Returns the verdict of a run of tests of which so many failed."""
    return "FAILED" if failures else "kept"


class Figures:
    """Keeps the rows of one test run."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def kept(
        self,
        scenario: str,
        driver: str,
        messages: int,
        faults: int,
        *,
        lost: int = 0,
        remarks: str = "",
    ) -> None:
        """Adds a run whose test has checked all that it asks for, exactly."""
        self.rows.append(Row(scenario, driver, messages, faults, lost, 0, 0, word(0), remarks))

    def add(
        self,
        scenario: str,
        driver: str,
        messages: int,
        faults: int,
        verdict: Verdict,
        remarks: Iterable[str] = (),
    ) -> None:
        """Adds a run that was judged."""
        counts = [f"{verdict.charged} attempts charged"] if verdict.charged else []
        counts += [f"{verdict.copies} stored twice"] if verdict.copies else []
        counts += [f"{verdict.buried} dead-lettered"] if verdict.buried else []
        self.rows.append(
            Row(
                scenario,
                driver,
                messages,
                faults,
                verdict.lost,
                verdict.duplicates,
                verdict.bound,
                verdict.word,
                ", ".join([*counts, *remarks]),
            )
        )


def table(rows: Iterable[Row]) -> list[str]:
    """Returns the lines of a table, words to the left and numbers to the right."""
    cells = [HEAD, *(tuple(map(str, astuple(row))) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width)
            if HEAD[at] in ("messages", "faults", "lost", "duplicates", "bound")
            else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
