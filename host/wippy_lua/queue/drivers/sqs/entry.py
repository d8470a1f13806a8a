"""Queues on Amazon SQS, or on anything that speaks its protocol. Needs the extra `sqs`."""

from __future__ import annotations

from importlib.util import find_spec
from math import ceil

from wippy_lua.clock import Clock
from wippy_lua.errors import ConfigError
from wippy_lua.log import Log
from wippy_lua.queue.driver import Driver
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.kinds import AwsSpec, SqsDriverSpec
from wippy_lua.registry.problem import problem_at


def from_entry(entry: Entry, clock: Clock, log: Log) -> Driver:
    """Returns the driver of a `queue.driver.sqs` entry; raises ConfigError without its extra."""
    if find_spec("boto3") is None:
        message = 'the sqs driver needs boto3: pip install "wippy-lua[sqs]"'
        raise ConfigError([problem_at(entry.mark, entry.id, message)])
    # Not before: boto3 is slow to import, and is not there without the extra.
    from wippy_lua.queue.drivers.sqs.api import Settings
    from wippy_lua.queue.drivers.sqs.driver import SqsDriver

    spec = entry.spec_as(SqsDriverSpec)
    aws = _aws(entry, spec)
    settings = Settings(
        region=spec.region or aws.region,
        endpoint=spec.endpoint,
        access_key_id=aws.access_key_id,
        secret_access_key=aws.secret_access_key,
        session_token=aws.session_token,
        visibility_timeout=ceil(spec.visibility_timeout),
        wait_time=ceil(spec.wait_time),
    )
    return SqsDriver(settings, clock, log)


def _aws(entry: Entry, spec: SqsDriverSpec) -> AwsSpec:
    if spec.config is None:
        return AwsSpec()
    config = entry.named[spec.config]
    aws = config.spec_as(AwsSpec)
    if (aws.access_key_id is None) != (aws.secret_access_key is None):
        message = "access_key_id and secret_access_key go together: one of them is missing"
        raise ConfigError([problem_at(config.mark, config.id, message)])
    return aws
