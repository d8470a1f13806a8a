"""What can only be said of entries together: references, cycles, and what will surprise later."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias

from wippy_lua.registry.entry import Entry, Reference, is_of_kind
from wippy_lua.registry.kinds import ConsumerSpec, QueueSpec
from wippy_lua.registry.problem import Mark, Problem, at, problem_at
from wippy_lua.registry.suggest import did_you_mean

Edge: TypeAlias = tuple[str, Reference]


class Linked(Protocol):
    """An entry as far as its neighbours see it, whether its own fields are right or not."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def mark(self) -> Mark: ...
    @property
    def references(self) -> tuple[Reference, ...]: ...


def check_references(linked: Linked, kinds: Mapping[str, str]) -> Iterator[Problem]:
    """Yields a problem for each reference to nothing, or to a thing of the wrong kind.

    `kinds` has the kind of every entry, empty for those whose kind is a problem already.
    """
    for reference in linked.references:
        target, wanted = reference.target, reference.kinds
        if target not in kinds:
            fitting = [each for each, kind in kinds.items() if _fits(kind, wanted)]
            meant = did_you_mean(target, fitting)
            message = f"{reference.field} refers to {target!r}, which does not exist{meant}"
            yield problem_at(reference.mark, linked.id, message)
        elif kinds[target] and not _fits(kinds[target], wanted):
            message = (
                f"{reference.field} refers to {target!r}, which is a {kinds[target]}, "
                f"not a {' or '.join(wanted)}"
            )
            yield problem_at(reference.mark, linked.id, message)


def check_modules(entry: Entry, known: Collection[str] | None) -> Iterator[Problem]:
    """Yields a problem for each module that is not known; None is "whatever"."""
    if known is None:
        return
    for module, mark in entry.modules:
        if module not in known:
            message = f"unknown module {module!r}{did_you_mean(module, known)}"
            yield problem_at(mark, entry.id, message)


def check_groups(entries: Iterable[Entry], known: Collection[str]) -> Iterator[Problem]:
    """Yields a problem for each group that a service names and no policy is in."""
    for entry in entries:
        for group, mark in entry.groups:
            if group not in known:
                message = f"no security.policy is in group {group!r}{did_you_mean(group, known)}"
                yield problem_at(mark, entry.id, message)


def check_single_host(entries: Iterable[Linked]) -> Iterator[Problem]:
    """Yields a problem for each `host.config` after the first."""
    hosts = [entry for entry in entries if entry.kind == "host.config"]
    for other in hosts[1:]:
        message = f"there is a host.config already: {hosts[0].id}{at(hosts[0].mark)}"
        yield problem_at(other.mark, other.id, message)


def check_cycles(entries: Sequence[Linked]) -> Iterator[Problem]:
    """Yields a problem for each way in which entries wait for each other in a circle."""
    # An entry may name another twice (`queue` and `depends_on`), which is one circle, not two.
    graph = {
        entry.id: list({ref.target: ref for ref in entry.references[::-1]}.values())[::-1]
        for entry in entries
    }
    for cycle in _cycles(graph):
        path = " -> ".join([cycle[0][0], *(reference.target for _, reference in cycle)])
        is_dead_letter = all(reference.is_dead_letter for _, reference in cycle)
        what = "dead-letter loop" if is_dead_letter else "dependency cycle"
        start, reference = cycle[0]
        yield problem_at(reference.mark, start, f"{what}: {path}")


def _cycles(graph: Mapping[str, Sequence[Reference]]) -> Iterator[list[Edge]]:
    """Walks depth first, without recursion; an edge back into the current path closes a cycle."""
    finished: set[str] = set()
    for root in graph:
        path: list[Edge] = []
        position = {root: 0}
        pending = [iter(graph[root])]
        trail = [root]
        while pending and root not in finished:
            reference = next(pending[-1], None)
            if reference is None:
                done = trail.pop()
                finished.add(done)
                pending.pop()
                del position[done]
                del path[max(len(trail) - 1, 0) :]
                continue
            edge = trail[-1], reference
            if reference.target in position:
                yield [*path[position[reference.target] :], edge]
            elif reference.target in graph and reference.target not in finished:
                path.append(edge)
                position[reference.target] = len(trail)
                trail.append(reference.target)
                pending.append(iter(graph[reference.target]))


def queue_warnings(entries: Sequence[Entry]) -> Iterator[Problem]:
    """Yields what is allowed and will surprise: endless retries, two queues that are one."""
    queues = {e.id: (e, e.spec) for e in entries if isinstance(e.spec, QueueSpec)}
    consumers = [e.spec for e in entries if isinstance(e.spec, ConsumerSpec)]
    # The last queue of a dead-letter chain has nowhere to send its own failures, on purpose.
    ends = {spec.dead_letter.queue for _, spec in queues.values() if spec.dead_letter}
    settled = {spec.queue for spec in consumers if not spec.auto_ack} - ends
    names: dict[tuple[str, str], Entry] = {}
    for entry, spec in queues.values():
        if entry.id in settled and spec.dead_letter is None:
            message = (
                "has a consumer and no dead_letter: "
                "rejected and non-retryable messages are retried for ever"
            )
            yield problem_at(entry.mark, entry.id, message, "warning")
        name = spec.queue_name or entry.name
        other = names.setdefault((spec.driver, name), entry)
        if other is not entry:
            message = f"queue_name {name!r} on {spec.driver} is also that of {other.id}"
            yield problem_at(entry.mark, entry.id, message, "warning")


def _fits(kind: str, wanted: Sequence[str]) -> bool:
    return not wanted or any(is_of_kind(kind, each) for each in wanted)
