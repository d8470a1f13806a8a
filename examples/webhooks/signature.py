"""Signatures of webhooks: who sent a body, and when.

The header is `t=UNIX_SECONDS,v1=HEX`, where HEX is the HMAC-SHA256 of `UNIX_SECONDS.BODY`. The time
is signed too, so that nobody can send an old request again under a new one.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence

HEADER = re.compile(r"t=(\d{1,12}),v1=([0-9a-f]{64})", re.ASCII)
TOLERANCE = 300.0  # seconds that a sender's clock may be off, either way, the way here included


class SignatureError(Exception):
    """The request is not what a holder of the secret has sent just now; says why."""


def sign(secret: bytes, time: int, body: bytes) -> str:
    """Returns the header for a body that is sent at `time`, in Unix seconds."""
    return f"t={time},v1={_digest(secret, str(time), body)}"


def verify(secrets: Sequence[bytes], header: str, body: bytes, now: float) -> None:
    """Raises SignatureError unless one of the secrets has signed the body within the tolerance.

    There are two secrets while one takes the place of the other.
    """
    found = HEADER.fullmatch(header)
    if found is None:
        raise SignatureError("no signature, or one of another form")
    time, given = found.groups()
    # In constant time: how much of a guess is right must not show in how long the answer takes.
    if not any(hmac.compare_digest(_digest(each, time, body), given) for each in secrets):
        raise SignatureError("the signature does not match")
    if abs(now - int(time)) > TOLERANCE:
        raise SignatureError("the signature is too old, or from the future")


def _digest(secret: bytes, time: str, body: bytes) -> str:
    return hmac.digest(secret, time.encode() + b"." + body, "sha256").hex()
