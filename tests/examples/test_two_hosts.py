"""One host publishes, two consume: a killed one's share goes to the other."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import pytest

from tests.drivers.rabbitmq import RabbitMQ
from tests.examples.running import COMMAND, log_lines, logged_process, wait_until, with_message

ROWS, COLUMNS, DEPTH = 60, 60, 20_000
SHADES = " .:-=+*%#"
SERVE = ("run", "two_hosts", "--start", "mandelbrot:renderer", "--log-format", "json")
PAINT = (
    *("run", "two_hosts/paint.lua", "--start", "mandelbrot:collector", "--drain"),
    *("--log-format", "json", "--", str(ROWS), str(COLUMNS), str(DEPTH)),
)

pytestmark = pytest.mark.network


@dataclass(frozen=True)
class Renderer:
    """A consuming host and what it has logged."""

    process: Popen[bytes]
    log: Path

    def serves(self) -> bool:
        return bool(with_message(log_lines(self.log), "consumer started"))

    def rows(self) -> list[int]:
        return [line["row"] for line in with_message(log_lines(self.log), "row rendered")]


@contextmanager
def renderer(folder: Path, name: str, url: str) -> Iterator[Renderer]:
    log = folder / name
    env = {"RENDERER": name, "RABBITMQ_URL": url}
    with logged_process(log, *COMMAND, *SERVE, env=env) as process:
        yield Renderer(process, log)


def line_of(row: int) -> str:
    """Computes what render.lua should, in the same order, so that every digit agrees."""
    y = -1.2 + (1.2 - -1.2) * (row - 1) / (ROWS - 1)
    steps = [escape(-2.2 + (0.8 - -2.2) * column / (COLUMNS - 1), y) for column in range(COLUMNS)]
    return "".join("@" if each == DEPTH else SHADES[each % len(SHADES)] for each in steps)


def escape(x: float, y: float) -> int:
    a = b = 0.0
    seen = a, b
    for step in range(1, DEPTH + 1):
        a2, b2 = a * a, b * b
        if a2 + b2 > 4.0:
            return step
        a, b = a2 - b2 + x, 2 * a * b + y
        # Most points never escape, and Python is slow: one that returns to where it was goes in
        # circles for ever.
        if seen == (a, b):
            return DEPTH
        if step & (step - 1) == 0:
            seen = a, b
    return DEPTH


def test_picture_is_whole_though_a_renderer_is_killed_and_the_other_takes_over(
    tmp_path: Path, rabbitmq: RabbitMQ
) -> None:
    url, painted = rabbitmq.url, tmp_path / "painter"
    with renderer(tmp_path, "left", url) as left, renderer(tmp_path, "right", url) as right:
        wait_until(left.serves)
        wait_until(right.serves)
        with logged_process(painted, *COMMAND, *PAINT, env={"RABBITMQ_URL": url}) as painter:
            wait_until(lambda: len(left.rows()) > 5 and len(right.rows()) > 5)
            left.process.kill()
            left.process.wait()
            before = len(right.rows())
            assert len(left.rows()) + before < ROWS, "killed too late to prove anything"
            assert painter.wait(timeout=60) == 0, painted.read_text()
        right.process.send_signal(signal.SIGTERM)
        assert right.process.wait(timeout=15) == 0, right.log.read_text()

    lines = [line["msg"] for line in log_lines(painted) if line["logger"] == "print"]
    assert lines == [line_of(row) for row in range(1, ROWS + 1)]
    (summary,) = with_message(log_lines(painted), "picture painted")
    spread = summary["rows_by_renderer"]
    assert summary["rows"] == sum(spread.values()) == ROWS
    # What the killed one had acknowledged is its own, all the rest is the other's; the rows that it
    # held, one in its worker and one read ahead, may be in both logs.
    assert spread.keys() == {"left", "right"}
    assert set(left.rows()) | set(right.rows()) == set(range(1, ROWS + 1))
    assert len(set(left.rows()) & set(right.rows())) <= 2
    assert len(right.rows()) > before
