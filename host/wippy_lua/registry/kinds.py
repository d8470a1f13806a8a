"""The kinds of entries: one struct for the fields of each, one row for it in the table below.

A default here is the default of the documentation. Durations are seconds, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from wippy_lua.queue.config import Codec
from wippy_lua.registry.fields import (
    AnyRef,
    AwsRef,
    DriverOptions,
    DriverRef,
    Duration,
    Factor,
    FunctionRef,
    Groups,
    Imports,
    LuaSource,
    Modules,
    Name,
    Names,
    NotNegative,
    Options,
    PolicyRef,
    Positive,
    ProcessRef,
    QueueRef,
    Share,
    Size,
)
from wippy_lua.registry.tree import Step
from wippy_lua.security.condition import Condition, ConditionError, Operator

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


#: For how long what a lost process held is not given to others.
Lease = Annotated[Duration, Meta(ge=1, le=3600)]


class Spec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of one kind, decoded and in range; references are full IDs."""

    def problems(self) -> Iterator[tuple[tuple[Step, ...], str]]:
        """Yields what no field shows by itself: the way to a value, and what is wrong with it."""
        yield from ()


class ActorSpec(Spec, frozen=True, kw_only=True):
    """Whom a service acts as."""

    id: Name
    meta: Options = field(default_factory=dict)


class SecuritySpec(Spec, frozen=True, kw_only=True):
    """What a service is allowed to do, and as whom."""

    actor: ActorSpec | None = None
    groups: Groups = ()
    policies: tuple[PolicyRef, ...] = ()


class Restart(Spec, frozen=True, kw_only=True):
    """How a failed service comes back; `max_attempts` 0 is no limit."""

    initial_delay: Duration = 1.0
    max_delay: Duration = 90.0
    backoff_factor: Factor = 2.0
    jitter: Share = 0.1
    max_attempts: NotNegative = 0


class Lifecycle(Spec, frozen=True, kw_only=True):
    """How the supervisor treats a service."""

    auto_start: bool = False
    startup: Literal["required", "optional"] = "required"
    requires: tuple[AnyRef, ...] = ()
    depends_on: tuple[AnyRef, ...] = ()
    start_timeout: Duration = 10.0
    stop_timeout: Duration = 10.0
    stable_threshold: Duration = 5.0
    restart: Restart = Restart()
    security: SecuritySpec = SecuritySpec()

    @property
    def dependencies(self) -> tuple[str, ...]:
        """What starts first: `requires` and `depends_on` mean the same."""
        return tuple(dict.fromkeys(self.requires + self.depends_on))


class MemoryDriverSpec(Spec, frozen=True, kw_only=True):
    """`queue.driver.memory`."""

    lifecycle: Lifecycle = Lifecycle()


class SqliteDriverSpec(Spec, frozen=True, kw_only=True):
    """`queue.driver.sqlite`; a lost process's messages come back after `lease`."""

    file: Name = "./data/queue.db"
    synchronous: Literal["full", "normal"] = "full"
    lease: Lease = 30.0
    lifecycle: Lifecycle = Lifecycle()


class TlsSpec(Spec, frozen=True, kw_only=True):
    """How a connection is encrypted; without a `ca_file` the system's authorities are trusted."""

    ca_file: Name | None = None
    cert_file: Name | None = None
    key_file: Name | None = None
    server_name: Name | None = None
    verify: bool = True


class AmqpDriverSpec(Spec, frozen=True, kw_only=True):
    """`queue.driver.amqp`; a `vhost` beats that of the URL, a `heartbeat` of 0 is none."""

    url: Name = "amqp://guest:guest@127.0.0.1:5672/"
    vhost: Name | None = None
    connection_name: Name | None = None
    heartbeat: Duration = 10.0
    connection_timeout: Duration = 10.0
    reconnect_delay: Duration = 1.0
    reconnect_max_delay: Duration = 5.0
    tls: TlsSpec | None = None
    queue_type: Literal["quorum", "classic"] = "quorum"
    lifecycle: Lifecycle = Lifecycle()


class RedisDriverSpec(Spec, frozen=True, kw_only=True):
    """`queue.driver.redis`; TLS (`rediss://`) and credentials are parts of the URL."""

    url: Name = "redis://127.0.0.1:6379/0"
    prefix: Name = "wippy"
    lease: Annotated[Duration, Meta(ge=0.5)] = 30.0
    lifecycle: Lifecycle = Lifecycle()


class AwsSpec(Spec, frozen=True, kw_only=True):
    """`config.aws`; what is missing comes from the environment, as with every program for AWS."""

    region: Name | None = None
    access_key_id: Name | None = None
    secret_access_key: Name | None = None
    session_token: Name | None = None


class SqsDriverSpec(Spec, frozen=True, kw_only=True):
    """`queue.driver.sqs`; a `region` of its own beats that of its `config`."""

    config: AwsRef | None = None
    region: Name | None = None
    endpoint: Name | None = None
    visibility_timeout: Annotated[Duration, Meta(ge=1, le=43_200)] = 30.0
    wait_time: Annotated[Duration, Meta(ge=0, le=20)] = 20.0
    lifecycle: Lifecycle = Lifecycle()


class DeadLetterSpec(Spec, frozen=True, kw_only=True):
    """Where a message goes after its last attempt."""

    queue: QueueRef
    max_attempts: Positive


class QueueSpec(Spec, frozen=True, kw_only=True):
    """`queue.queue`; without a `queue_name` the broker's queue has the entry's name."""

    driver: DriverRef
    queue_name: Name | None = None
    codec: Codec = "json/plain"
    max_message_size: Annotated[Size, Meta(ge=1)] = 16 * MIB
    declare: bool = True
    options: Options = field(default_factory=dict)
    driver_options: DriverOptions = field(default_factory=dict)
    dead_letter: DeadLetterSpec | None = None


class RetrySpec(Spec, frozen=True, kw_only=True):
    """The backoff between attempts."""

    initial_delay: Duration = 0.1
    max_delay: Duration = 30.0
    backoff_factor: Factor = 2.0
    jitter: Share = 0.1


class ConsumerSpec(Spec, frozen=True, kw_only=True):
    """`queue.consumer`; `timeout` 0 is no limit."""

    queue: QueueRef
    func: FunctionRef
    concurrency: Annotated[int, Meta(ge=1, le=1000)] = 1
    prefetch: Annotated[int, Meta(ge=0, le=10000)] = 10
    auto_ack: bool = False
    timeout: Duration = 600.0
    retry: RetrySpec = RetrySpec()
    driver_options: DriverOptions = field(default_factory=dict)
    lifecycle: Lifecycle = Lifecycle()


class VmLimits(Spec, frozen=True, kw_only=True):
    """What one Lua VM may use."""

    memory: Annotated[Size, Meta(ge=MIB)] = 32 * MIB
    preempt: bool = True


class CallLimits(VmLimits, frozen=True, kw_only=True):
    """What one call may use; `timeout` 0 is no limit but the consumer's."""

    timeout: Duration = 0.0


class FunctionSpec(Spec, frozen=True, kw_only=True):
    """`function.lua`; without a `method` the module's value when it is a function, else `main`."""

    source: LuaSource
    method: Name | None = None
    modules: Modules = ()
    imports: Imports = field(default_factory=dict)
    limits: CallLimits = CallLimits()


class LibrarySpec(Spec, frozen=True, kw_only=True):
    """`library.lua`."""

    source: LuaSource
    modules: Modules = ()
    imports: Imports = field(default_factory=dict)


class ProcessSpec(Spec, frozen=True, kw_only=True):
    """`process.lua`: a long-running program."""

    source: LuaSource
    method: Name | None = None
    modules: Modules = ()
    imports: Imports = field(default_factory=dict)
    limits: VmLimits = VmLimits()


class ProcessServiceSpec(Spec, frozen=True, kw_only=True):
    """`process.service`: a supervised instance of a program."""

    process: ProcessRef
    lifecycle: Lifecycle = Lifecycle()


class MemoryStoreSpec(Spec, frozen=True, kw_only=True):
    """`store.memory`; `max_size` counts keys."""

    max_size: Positive = 10_000
    cleanup_interval: Duration = 300.0


class SqliteStoreSpec(Spec, frozen=True, kw_only=True):
    """`store.sqlite`; several may share a file. A lost process's claims end after `lease`."""

    file: Name = "./data/store.db"
    synchronous: Literal["full", "normal"] = "full"
    cleanup_interval: Duration = 300.0
    lease: Lease = 30.0


class RedisStoreSpec(Spec, frozen=True, kw_only=True):
    """`store.redis`; without a `prefix` the keys begin with "wippy:" and the entry's ID."""

    url: Name = "redis://127.0.0.1:6379/0"
    prefix: Name | None = None
    lease: Lease = 30.0


class DirectorySpec(Spec, frozen=True, kw_only=True):
    """`fs.directory`: a folder that Lua may read."""

    directory: Name


class ConditionSpec(Spec, frozen=True, kw_only=True):
    """One condition of a policy; `value` or `value_from`, by the operator."""

    field: Name
    operator: Operator
    value: object = None
    value_from: Name | None = None

    def condition(self) -> Condition:
        """Returns the condition; raises ConditionError when it could not mean anything."""
        return Condition(self.field, self.operator, self.value, self.value_from)


class RuleSpec(Spec, frozen=True, kw_only=True):
    """What a policy says, and to what; `*` in an action or a resource is any text."""

    actions: Names
    resources: Names
    effect: Literal["allow", "deny"]
    conditions: tuple[ConditionSpec, ...] = ()


class PolicySpec(Spec, frozen=True, kw_only=True):
    """`security.policy`."""

    policy: RuleSpec
    groups: tuple[Name, ...] = ()

    def conditions(self) -> tuple[Condition, ...]:
        """Returns the conditions, all of which have to hold."""
        return tuple(each.condition() for each in self.policy.conditions)

    def problems(self) -> Iterator[tuple[tuple[Step, ...], str]]:
        for name in ("actions", "resources"):
            if not getattr(self.policy, name):
                yield ("policy", name), "must not be empty: the policy would match nothing"
        for index, each in enumerate(self.policy.conditions):
            try:
                each.condition()
            except ConditionError as error:
                yield ("policy", "conditions", index, error.part), str(error)


class HostSpec(Spec, frozen=True, kw_only=True):
    """`host.config`; `stall_limit` 0 is no watchdog, `env` the names that Lua may read."""

    security: Literal["open", "strict"] = "open"
    stall_limit: Duration = 20.0
    vm_memory: Annotated[Size, Meta(ge=MIB)] = GIB
    vm_recycle: Positive = 10_000
    env: tuple[Name, ...] = ()
    log_level: Literal["debug", "info", "warn", "error"] = "info"


@dataclass(frozen=True, slots=True)
class Row:
    """What the registry knows of one kind; `unused` are fields of Wippy that mean nothing here."""

    spec: type[Spec]
    unused: frozenset[str] = frozenset()


KINDS: Mapping[str, Row] = {
    "config.aws": Row(AwsSpec, frozenset({"lifecycle"})),
    "queue.driver.amqp": Row(
        AmqpDriverSpec, frozenset({"auth_mechanism", "channel_max", "frame_size", "locale"})
    ),
    "queue.driver.memory": Row(MemoryDriverSpec),
    "queue.driver.redis": Row(RedisDriverSpec),
    "queue.driver.sqs": Row(SqsDriverSpec),
    "queue.driver.sqlite": Row(SqliteDriverSpec),
    "queue.queue": Row(QueueSpec, frozenset({"lifecycle"})),
    "queue.consumer": Row(ConsumerSpec, frozenset({"host", "pool", "workers"})),
    "function.lua": Row(FunctionSpec, frozenset({"host", "lifecycle", "pool"})),
    "library.lua": Row(LibrarySpec, frozenset({"host", "method", "pool"})),
    "process.lua": Row(ProcessSpec, frozenset({"host", "pool"})),
    "process.service": Row(ProcessServiceSpec, frozenset({"host"})),
    "store.memory": Row(MemoryStoreSpec, frozenset({"lifecycle"})),
    "store.redis": Row(RedisStoreSpec, frozenset({"lifecycle"})),
    "store.sqlite": Row(SqliteStoreSpec, frozenset({"lifecycle"})),
    "fs.directory": Row(DirectorySpec, frozenset({"auto_init", "lifecycle", "mode"})),
    "security.policy": Row(PolicySpec),
    "host.config": Row(HostSpec),
}
