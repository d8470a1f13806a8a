"""A host process for tests: `python -m tests.drivers.redis.app URL QUEUE MODE`.

`hold` keeps what it is given, `handle` prints each body and acks it. A line on standard output
says that it runs.
"""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402 - patching comes first

import gevent  # noqa: E402

from wippy_lua.clock import SystemClock  # noqa: E402
from wippy_lua.log import NullLog  # noqa: E402
from wippy_lua.queue.config import QueueConfig  # noqa: E402
from wippy_lua.queue.drivers.redis.driver import RedisDriver  # noqa: E402
from wippy_lua.queue.message import Delivery  # noqa: E402


class Printer:
    """Tells of each delivery, and keeps it or acks it."""

    def __init__(self, acks: bool) -> None:
        self._acks = acks
        self._held: list[Delivery] = []

    def put(self, item: Delivery) -> None:
        print(item.attempt, item.message.body.decode(), flush=True)  # noqa: T201
        if self._acks:
            item.ack()
        else:
            self._held.append(item)


def main(url: str, queue: str, mode: str) -> None:
    """Consumes until the process is killed."""
    driver = RedisDriver(url, SystemClock(), NullLog(), lease=1.0)
    driver.start()
    driver.declare_queue(QueueConfig(f"app:{queue}", "app:redis", queue))
    driver.attach(f"app:{queue}", 20, Printer(acks=mode == "handle"))
    print("ready", flush=True)  # noqa: T201
    gevent.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
