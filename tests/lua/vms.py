"""VMs for tests, called with bodies, and attacks on them in a process of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from wippy_lua.call import Call
from wippy_lua.clock import SystemClock
from wippy_lua.functions import Functions
from wippy_lua.log import NullLog
from wippy_lua.lua.modules.logger import LoggerModule
from wippy_lua.lua.modules.queue import QueueModule
from wippy_lua.lua.program import Program
from wippy_lua.lua.resolver import Resolver
from wippy_lua.lua.runtime import VM, HostFunction, Natives
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.drivers.memory.driver import MemoryDriver
from wippy_lua.queue.manager import QueueManager
from wippy_lua.queue.message import Delivery, Header, Message
from wippy_lua.queue.settle import Failure, Outcome
from wippy_lua.registry.entry import Source

MIB = 1024 * 1024
TEXT, JSON, MSGPACK = 0, 1, 2
PATIENCE = 20.0


class QuietDelivery(Delivery):
    """A delivery whose settlement nobody waits for."""

    def ack(self) -> None: ...
    def release(self, delay: float, charged: bool) -> None: ...
    def move(self, queue: str, message: Message) -> None: ...
    def extend(self, seconds: float) -> None: ...


def delivery(**headers: Header) -> Delivery:
    return QuietDelivery(Message("m1", b"1", "application/json", headers, 0.0), 1)


class NoApp:
    """Takes every declaration."""

    def declare_queue(self, queue: str, fields: Mapping[str, object]) -> None: ...

    def consume(
        self, call: Call, queue: str, module: str, method: str, fields: Mapping[str, object]
    ) -> str:
        return "app:consumer"


def host_functions() -> dict[str, Mapping[str, HostFunction]]:
    """Returns the host side of `queue`, with one queue in memory, and of `logger`."""
    manager = QueueManager(SystemClock())
    driver = MemoryDriver(SystemClock())
    manager.add_driver("app:memory", driver)
    manager.add_queue(
        QueueConfig("app:tasks", "app:memory", "tasks", options={"max_length": 1_000_000})
    )
    driver.start()
    manager.declare("app:tasks")
    return {
        "queue": QueueModule(manager, NoApp()).functions(),
        "logger": LoggerModule(NullLog(), "info").functions(),
    }


class Prints:
    """A `print` that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, _call: Call, text: bytes, _caller: bytes) -> None:
        self.lines.append(text.decode())


def program(text: str, *, id_: str = "app:f", memory: int = 16 * MIB, **fields: Any) -> Program:
    """Returns a program that may require everything."""
    source = Source("app.lua", textwrap.dedent(text).encode())
    return Program(id_, source, memory=memory, **{"modules": None, **fields})


def natives(
    python_modules: Mapping[str, Mapping[str, Callable[..., Any]]] | None = None,
    prints: Prints | None = None,
) -> Natives:
    resolver = Resolver(
        {name: partial(dict, functions) for name, functions in host_functions().items()},
        python_modules or {},
    )
    return Natives(resolver, resolver.invoke, prints or Prints())


def functions_of(*programs: Program, offers: Natives | None = None, **limits: Any) -> Functions:
    limits = {"memory": 1024 * MIB, "recycle": 10_000, **limits}
    functions = Functions(offers or natives(), NullLog(), **limits)
    for each in programs:
        functions.add(each)
    return functions


def make_vm(text: str, offers: Natives | None = None, **fields: Any) -> VM:
    """Returns a loaded VM whose handler is what `text` returns."""
    vm = VM(program(text, **fields), offers or natives(), NullLog())
    vm.load(Call("app:f", loading=True))
    return vm


def handle(vm: VM, body: object = None, *, seconds: float = inf) -> Outcome:
    """Calls the handler with a body; `bytes` as text, anything else as JSON."""
    call = Call("app:f", deadline=monotonic() + seconds)
    if isinstance(body, bytes):
        return vm.handle(call, TEXT, body)
    return vm.handle(call, JSON, msgspec.json.encode(body))


def run(text: str, body: object = None, *, seconds: float = inf, **fields: Any) -> Outcome:
    """Calls a handler once, in a VM of its own."""
    return handle(make_vm(text, **fields), body, seconds=seconds)


def result_of(text: str, *arguments: object, **fields: Any) -> Any:
    """Returns what a handler returned for these arguments; raises CallError."""
    packed = make_vm(text, **fields).call(Call("app:f"), msgspec.msgpack.encode(arguments))
    return None if packed is None else msgspec.msgpack.decode(packed)


def failure_of(outcome: Outcome) -> Failure:
    assert isinstance(outcome, Failure), outcome
    return outcome


PRELUDE = """
import gc, gevent, time
from tests.lua.vms import *
from wippy_lua.call import Call, End
from wippy_lua.queue.settle import Cancelled, Failure, Success
"""


def attack(code: str, seconds: float = PATIENCE) -> str:
    """Runs Python code in a process of its own and returns what it printed.

    A crash or a hang of that process is a failed test here, and no more.
    """
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", PRELUDE + textwrap.dedent(code)],
        capture_output=True,
        timeout=seconds,
        text=True,
        cwd=root,
        env={"PYTHONPATH": f"{root / 'host'}:{root}"},
        check=False,
    )
    assert done.returncode == 0, (
        f"exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    )
    return done.stdout.strip()


def attack_lua(
    lua: str, *, seconds: float = 1.0, memory: int = 16 * MIB, body: str = "None", setup: str = ""
) -> str:
    """Runs a hostile handler in a process of its own; returns how it ended.

    "Success", "Cancelled" or the kind and message of its failure. Fails when the call outlives
    its deadline by more than a few seconds, or when a VM after it does not work.
    """
    return attack(f"""
{setup}
vm = make_vm({textwrap.dedent(lua)!r}, memory={memory})
begun = time.monotonic()
outcome = handle(vm, {body}, seconds={seconds})
took = time.monotonic() - begun
assert took < {seconds} + 2.5, f"took {{took}}"
del vm
gc.collect()
assert run("return function() return true end") == Success()
error = getattr(outcome, "error", None)
print(f"{{error.kind.value}}: {{error.message}}" if error else type(outcome).__name__)
""")
