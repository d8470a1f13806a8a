"""A sign-up form's backend: Flask answers at once, and Lua sends the welcome mail later.

gunicorn's worker imports this file after it has patched the process with gevent. The host is only
made here: gunicorn.conf.py starts and stops it with each worker, since a host that was started
before a fork is of no use after it.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from flask import Flask, request
from flask.typing import ResponseReturnValue
from mail import Outbox

from wippy_lua import Host, Kind, WippyError
from wippy_lua.log import make_log

QUEUE = "signup:welcomes"
PUBLISH_SECONDS = 2.0  # a client rather hears "busy" soon than waits for the broker

outbox = Outbox(Path(os.environ.get("OUTBOX", "outbox")))
host = Host(
    Path(__file__).with_name("queues"),
    modules={"mail": {"send": outbox.send}},
    make_log=partial(make_log, fmt="json"),
)
app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 16 * 1024  # Flask answers 413 to what is longer


@app.post("/signups")
def sign_up() -> ResponseReturnValue:
    """Takes a sign-up; 202 means that its welcome is safe in Redis, whatever happens here."""
    signup = request.get_json()  # Flask answers 400 or 415 to what is no JSON
    if not _is_signup(signup):
        return {"error": "a sign-up needs a name and an email"}, 400
    message_id = host.publish(QUEUE, signup, timeout=PUBLISH_SECONDS)
    return {"id": message_id}, 202


@app.get("/queue")
def show_queue() -> ResponseReturnValue:
    """Shows how much waits, and what all workers have in hand."""
    info = host.info(QUEUE)
    return {"ready": info.ready, "in_flight": info.in_flight}


@app.errorhandler(WippyError)
def refuse(error: WippyError) -> ResponseReturnValue:
    """Answers when the queue cannot take the message."""
    if error.kind in {Kind.UNAVAILABLE, Kind.TIMEOUT}:
        return {"error": error.message}, 503, {"Retry-After": "1"}
    raise error


def _is_signup(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(field), str) for field in ("name", "email")
    )
