"""What a benchmark is: the same work by the host, by a bare loop, and by other systems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

#: Does the work once and returns its figures by name; "" is the name of the only one.
Measure = Callable[[], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on the ratio to the floor; on the figure itself where there is no floor."""

    bound: float
    is_least: bool

    def holds(self, value: float) -> bool:
        """Tells whether a value is on the right side of the bound."""
        return value >= self.bound if self.is_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.is_least else '<='} {self.bound:g}"


def at_least(bound: float) -> Goal:
    """Returns the goal to reach a bound."""
    return Goal(bound, is_least=True)


def at_most(bound: float) -> Goal:
    """Returns the goal to stay within a bound."""
    return Goal(bound, is_least=False)


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that is measured; a row of the table for each of its figures.

    `goals` and `floors` are by figure: a floor that is known need not be measured. `ahead` says how
    many times the rate of a peer is wanted.
    """

    name: str
    ours: Measure
    floor: Measure | None = None
    unit: str = "messages/s"
    goals: Mapping[str, Goal] = field(default_factory=dict)
    floors: Mapping[str, float] = field(default_factory=dict)
    peers: Mapping[str, Measure] = field(default_factory=dict)
    ahead: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of the full work is done: 1 for figures, less to see that everything works."""

    factor: float = 1.0

    def of(self, count: int, least: int = 20) -> int:
        """Returns how many messages stand for `count` of them."""
        return max(min(least, count), round(count * self.factor))


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of a case: medians of all rounds, and the median of the rounds' ratios."""

    case: str
    figure: str
    unit: str
    floor: float | None
    ours: float
    of_floor: float | None
    goal: str
    met: bool | None
    peers: Mapping[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The case and its figure."""
        return f"{self.case}, {self.figure}" if self.figure else self.case
