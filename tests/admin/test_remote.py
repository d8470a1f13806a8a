"""Operations over HTTP do what they do on the spot, errors included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from gevent.pywsgi import WSGIServer

from tests.admin.site import Site
from tests.host.apps import wait_for
from wippy_lua import Host, QueueNotFound, WippyError
from wippy_lua.errors import Kind
from wippy_lua.operations.contract import Operations
from wippy_lua.operations.local import LocalOperations
from wippy_lua.operations.remote import RemoteOperations
from wippy_lua.operations.values import Progress, Publication, QueueStatus, Selection

TOKEN = "tell-nobody"  # noqa: S105 - a test's own


class Away:
    """Operations that are asked from the client's thread: each verb, and each step of progress."""

    def __init__(self, site: Site, operations: Operations) -> None:
        self._site = site
        self._operations = operations

    def __getattr__(self, verb: str) -> Any:
        def ask(*arguments: Any, **options: Any) -> Any:
            method = getattr(self._operations, verb)
            result = self._site.away(method, *arguments, **options)
            return self._steps(result) if verb in ("replay", "drop") else result

        return ask

    def _steps(self, progress: Iterator[Progress]) -> Iterator[Progress]:
        over = Progress(done=-1)
        try:
            while (step := self._site.away(next, progress, over)) is not over:
                yield step
        finally:
            self._site.away(progress.close)  # type: ignore[attr-defined]


def connect(site: Site, token: str | None = None, url: str = "") -> Operations:
    return cast(Operations, Away(site, RemoteOperations(url or site.url, token)))


@pytest.fixture
def remote(site: Site) -> Operations:
    return connect(site)


def bury(host: Host, count: int) -> None:
    for n in range(count):
        host.publish("app:tasks", {"n": n, "act": "reject"}, {"shard": f"{n % 2}"})
    wait_for(lambda: host.info("app:dead").ready == count)


def test_queues_are_the_same_as_on_the_spot(host: Host, remote: Operations) -> None:
    host.publish("app:dead", {"n": 1})
    local = host._app.operations()
    [dead, tasks] = remote.queues()
    assert isinstance(dead, QueueStatus)
    assert (dead.id, dead.ready, dead.depth, tasks.dead_letters) == ("app:dead", 1, 1, 1)
    assert tasks == local.queue("app:tasks") == remote.queue("app:tasks")


def test_publish_peek_and_purge(host: Host, remote: Operations) -> None:
    publication = Publication(
        {"text": "grüße"}, headers={"correlation_id": "c", "weight": 1.5}, id="m-1"
    )
    assert remote.publish("app:dead", publication) == "m-1"
    assert remote.publish("app:dead", Publication("AP8=", encoding="base64"))
    assert remote.peek("app:dead", 5) == host._app.operations().peek("app:dead", 5)
    assert [message.id for message in remote.peek("app:dead", 1)] == ["m-1"]
    assert remote.purge("app:dead") == 2


def test_pause_and_resume(host: Host, remote: Operations) -> None:
    remote.pause("app:tasks")
    assert remote.queue("app:tasks").paused is True
    host.publish("app:tasks", {"n": 1})
    assert host.info("app:tasks").ready == 1
    remote.resume("app:tasks")
    wait_for(lambda: host.info("app:tasks").message_count == 0)


def test_dead_letters_are_shown_replayed_and_dropped(host: Host, remote: Operations) -> None:
    bury(host, 6)
    remote.pause("app:tasks")
    shown = remote.dead_letters("app:dead", Selection(match={"shard": "1"}))
    assert [letter.body["n"] for letter in shown] == [1, 3, 5]
    assert shown[0].death is not None
    assert shown[0].death.reason == "rejected"
    steps = list(remote.replay("app:dead", Selection(limit=2), rate=1000, dry_run=True))
    assert (steps[-1].done, steps[-1].finished) == (2, True)
    *_, replayed = remote.replay("app:tasks", Selection(match={"shard": "1"}))
    assert (replayed.done, replayed.skipped, host.info("app:tasks").ready) == (3, 3, 3)
    *_, dropped = remote.drop("app:dead", Selection(limit=1))
    assert (dropped.done, host.info("app:dead").ready) == (1, 2)
    *_, trial = remote.drop("app:dead", dry_run=True)
    assert (trial.done, host.info("app:dead").ready) == (2, 2)


def test_closing_a_replay_ends_it(host: Host, site: Site, remote: Operations) -> None:
    bury(host, 40)
    remote.pause("app:tasks")
    progress = cast(Any, remote.replay("app:dead", rate=40))
    assert not next(progress).finished
    progress.close()
    wait_for(lambda: not site.server.connections)
    left = host.info("app:dead")
    assert (left.in_flight, left.ready) == (0, left.message_count)
    assert left.ready > 20


def test_misuse_is_raised_by_the_call_itself(remote: Operations) -> None:
    for verb in (remote.replay, remote.drop):
        with pytest.raises(QueueNotFound, match="app:none"):
            verb("app:none")
    with pytest.raises(WippyError, match="rate") as caught:
        remote.replay("app:dead", rate=-1.0)
    assert caught.value.kind is Kind.INVALID


def test_what_fails_later_is_raised_by_the_iterator(
    remote: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> Iterator[Progress]:
        yield Progress(done=1)
        raise WippyError("the broker left", kind=Kind.UNAVAILABLE, retryable=True)

    monkeypatch.setattr(LocalOperations, "drop", fails)
    progress = remote.drop("app:dead")
    assert next(progress).done == 1
    with pytest.raises(WippyError, match="the broker left") as caught:
        next(progress)
    assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)


def test_a_host_that_ends_in_the_middle_is_told(host: Host, site: Site, remote: Operations) -> None:
    bury(host, 5)
    remote.pause("app:tasks")
    progress = remote.replay("app:dead", rate=1)
    next(progress)
    site.server.stop()
    with pytest.raises(WippyError) as caught:
        list(progress)
    assert caught.value.kind is Kind.UNAVAILABLE


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda o: o.queue("app:none"), Kind.NOT_FOUND, "app:none"),
        (lambda o: o.queue("no/id at ä?l&l#"), Kind.NOT_FOUND, "no/id"),
        (lambda o: o.peek("app:dead", 0), Kind.INVALID, "limit"),
        (lambda o: o.peek("app:dead", -5), Kind.INVALID, "limit"),
        (lambda o: o.publish("app:dead", Publication(1, delay="soon")), Kind.INVALID, "delay"),
        (lambda o: o.publish("app:dead", Publication(1, timeout="x")), Kind.INVALID, "timeout"),
        (lambda o: o.publish("app:dead", Publication(1, headers={"x_a": 1})), Kind.INVALID, "x_a"),
        (lambda o: o.dead_letters("app:dead", Selection(limit=0)), Kind.INVALID, "limit"),
    ],
)
def test_errors_arrive_with_their_kind(
    remote: Operations, call: Any, kind: Kind, says: str
) -> None:
    with pytest.raises(WippyError, match=says) as caught:
        call(remote)
    assert caught.value.kind is kind


def test_the_token_opens_and_is_never_shown(host: Host) -> None:
    with Site(host, TOKEN) as site, host:
        assert len(connect(site, TOKEN).queues()) == 2
        for token in (None, "wrong", f"{TOKEN}x"):
            with pytest.raises(WippyError, match="Authorization: Bearer") as caught:
                connect(site, token).queues()
            assert caught.value.kind is Kind.PERMISSION_DENIED
            assert TOKEN not in str(caught.value)


def test_a_host_that_is_not_there_is_unavailable(host: Host) -> None:
    site = Site(host)
    with site:
        url = site.url
    with Site(host) as other:
        for verb in ("queues", "replay"):
            with pytest.raises(WippyError, match=rf"cannot reach the host at {url}") as caught:
                getattr(connect(other, url=url), verb)(*["app:dead"][: verb == "replay"])
            assert caught.value.kind is Kind.UNAVAILABLE


def test_what_is_no_admin_server_is_said_to_be_none(host: Host) -> None:
    answers = {"/api/queues": ("200 OK", b"<html>"), "/api/queues/q": ("502 Bad Gateway", b"oops")}

    def other(environ: Any, start_response: Any) -> list[bytes]:
        status, body = answers.get(environ["PATH_INFO"], ("302 Found", b""))
        start_response(status, [("Location", "/login")])
        return [body]

    server = WSGIServer(("127.0.0.1", 0), other, log=None)
    server.start()
    url = f"http://127.0.0.1:{server.server_port}"
    with Site(host) as site:
        remote = connect(site, url=url)
        with pytest.raises(WippyError, match="no admin server"):
            remote.queues()
        with pytest.raises(WippyError, match="502 Bad Gateway"):
            remote.queue("q")
        with pytest.raises(WippyError, match="302 Found"):
            remote.purge("q")
    server.stop()


@pytest.mark.parametrize("url", ["", "127.0.0.1:9464", "ftp://host", "http://", "http://h:port"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        RemoteOperations(url)


def test_a_host_below_a_path_is_found(host: Host) -> None:
    app: Any = host.admin_app()

    def mounted(environ: Any, start_response: Any) -> Any:
        assert environ["PATH_INFO"].startswith("/ops/")
        return app({**environ, "PATH_INFO": environ["PATH_INFO"][4:]}, start_response)

    server = WSGIServer(("127.0.0.1", 0), mounted, log=None)
    server.start()
    with Site(host) as site, host:
        remote = connect(site, url=f"http://127.0.0.1:{server.server_port}/ops/")
        assert len(remote.queues()) == 2
    server.stop()
