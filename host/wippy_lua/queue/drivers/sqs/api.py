"""The calls to SQS, and its errors in our words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - not the built-in one, which botocore never raises
    CredentialRetrievalError,
    HTTPClientError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
)

from wippy_lua.errors import Kind, WippyError
from wippy_lua.queue.drivers.sqs.wire import Raw

#: Messages of one call, whichever it is.
BATCH: Final = 10

#: Seconds that SQS may take for a call that does not wait for messages.
CALL_SECONDS: Final = 10.0

#: The broker's own longest: seconds of a delay, and of a lease in all.
LONGEST_DELAY: Final = 900
LONGEST_LEASE: Final = 43_200

#: The broker, or what gives us our credentials, cannot be reached for the moment.
_OUTAGES = (ConnectionError, CredentialRetrievalError, HTTPClientError, MetadataRetrievalError)

#: Kinds of failure that say nothing of a queue: SQS is away, or does not let us in.
_UNREACHED = frozenset({Kind.UNAVAILABLE, Kind.PERMISSION_DENIED})

_MISSING = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})

#: What to make of an error code: its kind, and whether the same call may succeed later.
_CODES: Mapping[str, tuple[Kind, bool]] = {
    # For a second after its creation SQS may not know a queue yet.
    **dict.fromkeys(_MISSING, (Kind.NOT_FOUND, True)),
    **dict.fromkeys(
        (
            "AccessDenied",
            "AccessDeniedException",
            "AuthFailure",
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidClientTokenId",
            "InvalidSecurity",
            "KmsAccessDenied",
            "MissingAuthenticationToken",
            "OptInRequired",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ),
        (Kind.PERMISSION_DENIED, False),
    ),
    **dict.fromkeys(
        (
            "AWS.SimpleQueueService.QueueDeletedRecently",
            "InternalError",
            "InternalFailure",
            "KmsThrottled",
            "OverLimit",
            "QueueDeletedRecently",
            "RequestExpired",
            "RequestThrottled",
            "ServiceUnavailable",
            "Throttling",
            "ThrottlingException",
        ),
        (Kind.UNAVAILABLE, True),
    ),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach SQS, and how long things take there; seconds are whole ones.

    What is None comes from the environment, as with every program for AWS.
    """

    region: str | None = None
    endpoint: str | None = None
    access_key_id: str | None = None
    # Not shown: tracebacks and logs are no place for them.
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    visibility_timeout: int = 30
    wait_time: int = 20
    longest_delay: int = LONGEST_DELAY
    longest_lease: int = LONGEST_LEASE


class Api:
    """The calls that the driver makes. Each blocks its greenlet and raises WippyError.

    There are two clients, since making one is slow and both may be shared: polls wait for long,
    and nothing else should wait behind them or for as long as they do.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._poller: Any = None
        self._client: Any = None
        #: What the last call told of the way to SQS, whatever it told of its subject.
        self.reachable = True
        self.recoveries = 0

    def open(self) -> None:
        """Makes the clients; connections come with the first calls."""
        settings = self._settings
        session = boto3.session.Session(
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=settings.secret_access_key,
            aws_session_token=settings.session_token,
            region_name=settings.region,
        )
        try:
            # A poll holds its connection for as long as it waits: one for each consumer.
            self._poller = self._make(session, settings.wait_time + CALL_SECONDS, connections=1000)
            self._client = self._make(session, CALL_SECONDS, connections=50)
        except (BotoCoreError, ValueError) as error:
            raise WippyError(f"sqs: {error}", kind=Kind.INVALID, retryable=False) from error

    def close(self) -> None:
        """Closes every connection; quiet when there is none."""
        for client in (self._poller, self._client):
            if client is not None:
                client.close()
        self._poller = self._client = None

    def receive(self, url: str, limit: int, wait: int) -> Sequence[Raw]:
        """Returns up to `limit` (1 to 10) messages, waiting `wait` seconds for the first."""
        answer = self._call(
            self._poller,
            "receive_message",
            QueueUrl=url,
            MaxNumberOfMessages=limit,
            WaitTimeSeconds=wait,
            VisibilityTimeout=self._settings.visibility_timeout,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=[
                "ApproximateReceiveCount",
                "MessageGroupId",
                "SentTimestamp",
            ],
        )
        messages: Sequence[Raw] = answer.get("Messages", ())
        return messages

    def batch(
        self, operation: str, url: str, entries: Sequence[Mapping[str, Any]]
    ) -> list[WippyError | None]:
        """Makes one call for up to 10 entries; returns what became of each, None being good."""
        numbered = [{**entry, "Id": str(index)} for index, entry in enumerate(entries)]
        answer = self._call(self._client, operation, QueueUrl=url, Entries=numbered)
        # The call succeeds though all of its entries failed; only what is named as done is done.
        results: list[WippyError | None] = [_unanswered(operation)] * len(entries)
        for done in answer.get("Successful", ()):
            results[int(done["Id"])] = None
        for failed in answer.get("Failed", ()):
            results[int(failed["Id"])] = _failure(
                operation, failed["Code"], failed.get("Message", ""), failed["SenderFault"]
            )
        return results

    def queue_url(self, name: str) -> str | None:
        """Returns a queue's URL; None when there is no such queue."""
        try:
            url: str = self._call(self._client, "get_queue_url", QueueName=name)["QueueUrl"]
        except WippyError as error:
            if error.kind is Kind.NOT_FOUND:
                return None
            raise
        return url

    def create_queue(self, name: str, attributes: Mapping[str, str]) -> str:
        """Creates a queue and returns its URL; raises for one that has other attributes."""
        answer = self._call(
            self._client, "create_queue", QueueName=name, Attributes=dict(attributes)
        )
        url: str = answer["QueueUrl"]
        return url

    def attributes(self, url: str, names: Sequence[str]) -> Mapping[str, str]:
        """Returns these attributes of a queue, or all of them for `All`."""
        answer = self._call(
            self._client, "get_queue_attributes", QueueUrl=url, AttributeNames=list(names)
        )
        attributes: Mapping[str, str] = answer.get("Attributes", {})
        return attributes

    def _make(self, session: Any, read_timeout: float, connections: int) -> Any:
        return session.client(
            "sqs",
            endpoint_url=self._settings.endpoint,
            config=Config(
                connect_timeout=CALL_SECONDS / 2,
                read_timeout=read_timeout,
                max_pool_connections=connections,
                # The driver tries again by itself, for as long as somebody waits and not longer.
                retries={"total_max_attempts": 1, "mode": "standard"},
            ),
        )

    def _call(self, client: Any, operation: str, **parameters: Any) -> Mapping[str, Any]:
        if client is None:
            raise stopped()
        try:
            answer: Mapping[str, Any] = getattr(client, operation)(**parameters)
        except (BotoCoreError, ClientError) as error:
            failure = _translate(operation, error)
            self._note(reached=failure.kind not in _UNREACHED)
            raise failure from error
        self._note(reached=True)
        return answer

    def _note(self, *, reached: bool) -> None:
        self.recoveries += reached and not self.reachable
        self.reachable = reached


def stopped() -> WippyError:
    """Returns the error of whoever asks a driver that does not run."""
    return WippyError("the sqs driver is not started", kind=Kind.UNAVAILABLE, retryable=True)


def _translate(operation: str, error: BotoCoreError | ClientError) -> WippyError:
    if isinstance(error, ClientError):
        told = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
        return _failure(
            operation, told.get("Code", ""), told.get("Message", ""), 400 <= status < 500
        )
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return _error(operation, str(error), Kind.PERMISSION_DENIED, retryable=False)
    is_outage = isinstance(error, _OUTAGES)
    kind = Kind.UNAVAILABLE if is_outage else Kind.INTERNAL
    return _error(operation, str(error), kind, retryable=is_outage)


def _failure(operation: str, code: str, message: str, is_ours: bool) -> WippyError:
    default = (Kind.INVALID, False) if is_ours else (Kind.UNAVAILABLE, True)
    kind, retryable = _CODES.get(code, default)
    return _error(operation, f"{code}: {message}", kind, retryable=retryable, code=code)


def _unanswered(operation: str) -> WippyError:
    return _error(operation, "no answer for an entry", Kind.UNAVAILABLE, retryable=True)


def _error(operation: str, text: str, kind: Kind, *, retryable: bool, code: str = "") -> WippyError:
    details = {"operation": operation, "code": code} if code else {"operation": operation}
    return WippyError(f"sqs {operation}: {text}", kind=kind, retryable=retryable, details=details)
