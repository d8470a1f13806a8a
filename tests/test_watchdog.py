"""The watchdog ends a process whose hub stands still, and no other."""

from __future__ import annotations

import pytest

from tests.lua.vms import attack
from wippy_lua.watchdog import BEAT_SECONDS, LONGEST_LOOK, Stall


def test_a_hub_that_does_not_beat_stalls_for_as_long_as_one_looks() -> None:
    stall = Stall()
    looks = [stall.look(10.0, 10.0 + n * BEAT_SECONDS) for n in range(1, 9)]
    assert looks == [n * BEAT_SECONDS for n in range(1, 9)]
    assert stall.look(12.1, 12.25) == 12.25 - 12.1


def test_a_pause_of_the_whole_process_is_no_stall() -> None:
    stall = Stall()
    assert stall.look(10.0, 10.1) < LONGEST_LOOK
    assert stall.look(10.0, 3600.0) < 2 * LONGEST_LOOK
    assert stall.look(3600.1, 3600.2) < LONGEST_LOOK


def test_a_process_that_was_stopped_for_longer_than_the_limit_goes_on() -> None:
    printed = attack("""
    import os, signal, subprocess
    from wippy_lua.watchdog import Watchdog
    dog = Watchdog(0.75, NullLog())
    dog.start()
    gevent.sleep(0.3)
    subprocess.Popen(["sh", "-c", f"sleep 1.5; kill -CONT {os.getpid()}"])
    os.kill(os.getpid(), signal.SIGSTOP)
    gevent.sleep(0.6)
    dog.stop()
    print("alive")
    """)
    assert printed == "alive"


def test_a_hub_that_stands_still_ends_the_process() -> None:
    with pytest.raises(AssertionError, match="exit 70"):
        attack("""
        from wippy_lua.watchdog import Watchdog
        Watchdog(0.75, NullLog()).start()
        gevent.sleep(0)
        time.sleep(10)
        """)
