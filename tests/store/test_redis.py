"""The Redis store against a real server: the conformance suite, and what its server may do."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import gevent
import pytest

from tests.drivers.proxy import Proxy
from tests.drivers.redis.server import RedisServer
from tests.drivers.redis.support import run_python
from tests.host.apps import Gate, make_host, wait_for
from tests.lua.running import host_of
from wippy_lua.errors import ConfigError, Kind, WippyError
from wippy_lua.log import NullLog
from wippy_lua.store import redis
from wippy_lua.store.redis import RedisStore
from wippy_lua.store.store import Store
from wippy_lua.testing import StoreSuite

pytestmark = pytest.mark.network

LEASE = 0.5
PREFIXES = (f"test{n}" for n in count(1))


def make(server: RedisServer, prefix: str) -> RedisStore:
    return RedisStore(server.url, NullLog(), prefix=prefix, lease=LEASE)


@pytest.fixture
def prefix() -> str:
    return next(PREFIXES)


@pytest.fixture
def store(server: RedisServer, prefix: str) -> Iterator[Store]:
    store = make(server, prefix)
    store.start()
    yield store
    store.stop()


@pytest.fixture
def other(server: RedisServer, prefix: str) -> Iterator[Store]:
    other = make(server, prefix)
    yield other
    other.stop()


class TestRedis(StoreSuite):
    @pytest.fixture
    def store(self, store: Store) -> Store:
        return store

    @pytest.fixture
    def other(self, other: Store) -> Store:
        return other


def test_twenty_duplicates_of_a_message_at_once_run_their_function_once(
    server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    gate = Gate()
    entries = f"""\
        - {{name: redis, kind: queue.driver.redis, url: "{server.url}", prefix: {prefix}}}
        - {{name: tasks, kind: queue.queue, driver: redis}}
        - {{name: done, kind: store.redis, url: "{server.url}", prefix: {prefix}}}
        - {{name: handle, kind: function.lua, source: file://handle.lua, modules: [gate, store]}}
        - name: consumer
          kind: queue.consumer
          queue: tasks
          func: handle
          concurrency: 20
          lifecycle: {{auto_start: true}}
        """
    handle = """
        local gate, store = require("gate"), require("store")
        local done = store.get("app:done")
        local function charge()
          gate.wait()
          gate.note("charged")
        end
        return function(body)
          gate.note("came")
          local ok, err, state = done:once(body.order, "24h", charge)
          gate.note(state)
          return ok, err
        end
        """
    modules = {"gate": gate.functions()}
    with make_host(tmp_path, entries, modules=modules, handle=handle) as host:
        for _ in range(20):
            host.publish("app:tasks", {"order": "order-7"})
        wait_for(lambda: gate.seen.count("came") == 20)
        assert gate.waiting == 1
        gate.let_go(20)
        wait_for(lambda: host.info("app:tasks").message_count == 0)
    assert gate.seen.count("charged") == 1
    assert sorted(gate.seen[20:]) == ["charged", *["done"] * 19, "ran"]
    assert gate.seen.count("came") == 20  # nobody was sent back to try again


# What its server may do


def test_an_entry_has_a_prefix_of_its_own(server: RedisServer, tmp_path: Path) -> None:
    entries = "".join(
        f"- {{name: {name}, kind: store.redis, url: '{server.url}'}}\n" for name in ("one", "two")
    )
    main = """
    local store = require("store")
    return {main = function()
      store.get("app:one"):set("k", 1)
      return {store.get("app:two"):has("k"), store.get("app:one"):get("k")}
    end}
    """
    assert host_of(tmp_path, entries=entries, main=main).run_main() == [False, 1]
    with server.client() as client:
        assert client.get("wippy:app:one:k") == b"1"


def test_a_server_that_is_away_is_unavailable_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "TIMEOUT", 1.0)
    with RedisServer(tmp_path) as server:
        store = make(server, "test")
        store.start()
        store.set(b"k", b"\x01")
        server.stop(signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(WippyError) as caught:
            store.get(b"k")
        assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)
        assert time.monotonic() - began < 2
        server.start()
        wait_for(lambda: answers(store))
        assert store.get(b"k") == b"\x01"
        store.stop()


def answers(store: Store) -> bool:
    try:
        store.has(b"k")
    except WippyError:
        return False
    return True


def test_a_host_starts_without_its_server_and_uses_it_once_it_is_there(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    store = make(server, "test")
    store.start()
    with pytest.raises(WippyError) as caught:
        store.get(b"k")
    assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)
    with server:
        assert store.set_if_absent(b"k", b"\x01") is True
        store.stop()


def test_a_sum_whose_answer_is_lost_is_not_added_twice(server: RedisServer, prefix: str) -> None:
    with Proxy(server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        store = RedisStore(url, NullLog(), prefix=prefix, lease=LEASE)
        store.start()
        proxy.freeze()
        adding = gevent.spawn(store.incr, b"k", 1)
        gevent.sleep(0.1)
        proxy.thaw()
        with pytest.raises(WippyError) as caught:
            adding.get(timeout=10)
        assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)
        with server.client() as client:
            assert client.get(f"{prefix}:k") in (None, b"1")
        store.stop()


def test_a_server_that_forgets_its_scripts_is_told_them_again(
    server: RedisServer, store: Store
) -> None:
    assert store.incr(b"k", 1) == 1
    with server.client() as client:
        client.script_flush()
    assert store.incr(b"k", 1) == 2


def test_a_wrong_password_stops_the_start(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        with server.client() as client:
            client.config_set("requirepass", "secret")
        host = host_of(tmp_path, entries=f"- {{name: s, kind: store.redis, url: '{server.url}'}}\n")
        with pytest.raises(WippyError) as caught:
            host.start()
    assert (caught.value.kind, caught.value.retryable) == (Kind.PERMISSION_DENIED, False)


def test_a_bad_url_is_a_problem_at_its_entry(tmp_path: Path) -> None:
    host_of(tmp_path)
    with pytest.raises(ConfigError, match=r"_index\.yaml:4:3: app:s: .*URL"):
        host_of(tmp_path, entries="- {name: s, kind: store.redis, url: 'http://x'}\n")


def test_an_unpatched_process_and_a_missing_library_are_told_what_to_do() -> None:
    unpatched = """
        from wippy_lua.errors import WippyError
        from wippy_lua.log import NullLog
        from wippy_lua.store.redis import RedisStore
        try:
            RedisStore("redis://127.0.0.1:1/0", NullLog(), prefix="p").start()
        except WippyError as error:
            print(error.kind.name, error)
    """
    assert run_python(unpatched).startswith("INVALID store.redis needs a patched process")
    missing = """
        import sys
        sys.modules["redis"] = None
        from wippy_lua.errors import WippyError
        try:
            import wippy_lua.store.redis
        except WippyError as error:
            print(error)
    """
    assert run_python(missing) == 'store.redis needs redis-py: pip install "wippy-lua[redis]"\n'
