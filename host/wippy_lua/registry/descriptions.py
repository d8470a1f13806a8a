"""What every kind and every field is for, in the words that an editor shows.

One sentence each, without a default or a bound: the schema has those of `kinds.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from wippy_lua.registry import kinds

COMMON: Mapping[str, str] = {
    "name": "The entry's name; its ID is namespace:name.",
    "kind": "What the entry declares.",
    "meta": "Facts for people and programs. A function with `type: test` is called by"
    " `wippy-lua test`, grouped by `suite`, and acts as `security` says.",
}

OF_KINDS: Mapping[str, str] = {
    "config.aws": "Credentials and the region for AWS; what is missing comes from the environment.",
    "queue.driver.amqp": "RabbitMQ. Needs the extra `amqp`.",
    "queue.driver.memory": "Queues in the memory of the process.",
    "queue.driver.redis": "Redis. Needs the extra `redis`.",
    "queue.driver.sqs": "Amazon SQS. Needs the extra `sqs`.",
    "queue.driver.sqlite": "Queues in a SQLite file, shared by processes of one machine.",
    "queue.queue": "A queue of a driver.",
    "queue.consumer": "Takes messages from a queue and calls a function with each.",
    "function.lua": "A function in Lua: a handler, or what `funcs.call` calls.",
    "library.lua": "Lua that functions, processes and other libraries import by an alias.",
    "process.lua": "A Lua program that runs long; a `process.service` starts it.",
    "process.service": "A supervised instance of a `process.lua`.",
    "store.memory": "A key-value store in memory, shared by all functions.",
    "store.redis": "A key-value store on Redis, shared by hosts. Needs the extra `redis`.",
    "store.sqlite": "A key-value store in a SQLite file, shared by processes of one machine.",
    "fs.directory": "A folder that Lua may read.",
    "security.policy": "Allows or denies actions on resources.",
    "host.config": "Settings of the host; an app has at most one.",
}

_LIFECYCLE = "How the supervisor treats the service."
_SOURCE = "`file://x.lua`, relative to this file, or Lua text."
_METHOD = "The function of the module that is called, when the module is a table; else `main`."
_MODULES = "Modules that the code may require."
_IMPORTS = "Libraries that the code may require, by alias."
_DRIVER_OPTIONS = "Options for one driver by its short name; they beat those for any."
_CLEANUP = "Between two sweeps of keys whose time is over."
_CLAIM_LEASE = "After which another host may run what a lost one ran by `once`."
_URL = "Where the server is, with credentials."

OF_FIELDS: Mapping[type[Struct], Mapping[str, str]] = {
    kinds.ActorSpec: {
        "id": "The actor's ID.",
        "meta": "Facts about the actor that conditions of policies may ask for.",
    },
    kinds.SecuritySpec: {
        "actor": "Whom the service acts as.",
        "groups": "Groups of policies that it is held to.",
        "policies": "Policies that it is held to.",
    },
    kinds.Restart: {
        "initial_delay": "Before the first restart.",
        "max_delay": "The longest time before a restart.",
        "backoff_factor": "How much longer each delay is than the one before.",
        "jitter": "The share by which delays differ at random.",
        "max_attempts": "After so many failures in a row the service stays down; 0 is no limit.",
    },
    kinds.Lifecycle: {
        "auto_start": "Starts with the host.",
        "startup": "`required`: when it cannot start, the host does not.",
        "requires": "Entries that start before it.",
        "depends_on": "The same as `requires`.",
        "start_timeout": "How long its start may take.",
        "stop_timeout": "How long what runs may go on when it stops.",
        "stable_threshold": "After so long a run, failures are counted anew.",
        "restart": "How it comes back after a failure.",
        "security": "Whom it acts as, and what it may do.",
    },
    kinds.MemoryDriverSpec: {"lifecycle": _LIFECYCLE},
    kinds.SqliteDriverSpec: {
        "file": "The database, relative to this file.",
        "synchronous": "`full` survives the loss of power, `normal` that of the process.",
        "lease": "After so long, messages of a lost process come back.",
        "lifecycle": _LIFECYCLE,
    },
    kinds.TlsSpec: {
        "ca_file": "Authorities to trust, instead of the system's.",
        "cert_file": "The client's certificate.",
        "key_file": "The key of the client's certificate.",
        "server_name": "The name that the server's certificate has to have.",
        "verify": "Whether the server's certificate is checked.",
    },
    kinds.AmqpDriverSpec: {
        "url": _URL,
        "vhost": "The virtual host; it beats that of the URL.",
        "connection_name": "What the broker shows of the connection.",
        "heartbeat": "Between two signs of life; 0 is none.",
        "connection_timeout": "How long connecting may take.",
        "reconnect_delay": "Before the first attempt to connect again.",
        "reconnect_max_delay": "The longest time between two attempts.",
        "tls": "How the connection is encrypted.",
        "queue_type": "What queues are declared as.",
        "lifecycle": _LIFECYCLE,
    },
    kinds.RedisDriverSpec: {
        "url": f"{_URL[:-1]}; `rediss://` is TLS.",
        "prefix": "How all keys begin.",
        "lease": "After so long, messages of a lost host come back.",
        "lifecycle": _LIFECYCLE,
    },
    kinds.AwsSpec: {
        "region": "The region, such as eu-west-1.",
        "access_key_id": "The access key's ID.",
        "secret_access_key": "The access key.",
        "session_token": "The token of temporary credentials.",
    },
    kinds.SqsDriverSpec: {
        "config": "A `config.aws` entry.",
        "region": "The region; it beats that of `config`.",
        "endpoint": "The service's URL, where it is not Amazon's.",
        "visibility_timeout": "After so long, messages of a lost host come back.",
        "wait_time": "How long a poll waits for messages.",
        "lifecycle": _LIFECYCLE,
    },
    kinds.DeadLetterSpec: {
        "queue": "Where messages go that failed for good.",
        "max_attempts": "The attempts that a message has.",
    },
    kinds.QueueSpec: {
        "driver": "The driver that holds the queue.",
        "queue_name": "The broker's name for it (default: the entry's name).",
        "codec": "How tables are written.",
        "max_message_size": "The largest body.",
        "declare": "Create the queue; false uses one that exists.",
        "options": "Options for whatever driver, such as `max_length`.",
        "driver_options": _DRIVER_OPTIONS,
        "dead_letter": "Where messages go after their last attempt; without it they are retried"
        " for ever.",
    },
    kinds.RetrySpec: {
        "initial_delay": "Before the second attempt.",
        "max_delay": "The longest time between two attempts.",
        "backoff_factor": "How much longer each delay is than the one before.",
        "jitter": "The share by which delays differ at random.",
    },
    kinds.ConsumerSpec: {
        "queue": "The queue whose messages are handled.",
        "func": "The function that handles them.",
        "concurrency": "Handlers at a time.",
        "prefetch": "Messages held ready beyond those.",
        "auto_ack": "Settle on delivery: at most once.",
        "timeout": "For one call; 0 is no limit.",
        "retry": "The backoff between attempts.",
        "driver_options": _DRIVER_OPTIONS,
        "lifecycle": _LIFECYCLE,
    },
    kinds.VmLimits: {
        "memory": "What one Lua VM may hold.",
        "preempt": "Interrupt code that computes; false makes it faster, and trusts it to end.",
    },
    kinds.CallLimits: {
        "memory": "What one Lua VM may hold.",
        "preempt": "Interrupt code that computes; false makes it faster, and trusts it to end.",
        "timeout": "For one call; 0 is no limit but the consumer's.",
    },
    kinds.FunctionSpec: {
        "source": _SOURCE,
        "method": _METHOD,
        "modules": _MODULES,
        "imports": _IMPORTS,
        "limits": "What one call may use.",
    },
    kinds.LibrarySpec: {"source": _SOURCE, "modules": _MODULES, "imports": _IMPORTS},
    kinds.ProcessSpec: {
        "source": _SOURCE,
        "method": _METHOD,
        "modules": _MODULES,
        "imports": _IMPORTS,
        "limits": "What its VM may use.",
    },
    kinds.ProcessServiceSpec: {
        "process": "The program that runs.",
        "lifecycle": _LIFECYCLE,
    },
    kinds.MemoryStoreSpec: {
        "max_size": "How many keys it holds.",
        "cleanup_interval": _CLEANUP,
    },
    kinds.RedisStoreSpec: {
        "url": _URL,
        "prefix": "What its keys begin with; else `wippy:` and the entry's ID.",
        "lease": _CLAIM_LEASE,
    },
    kinds.SqliteStoreSpec: {
        "file": "The file, relative to this one; stores may share it.",
        "synchronous": "`full`: values outlive a loss of power; `normal`: the end of the process.",
        "cleanup_interval": _CLEANUP,
        "lease": _CLAIM_LEASE,
    },
    kinds.DirectorySpec: {"directory": "The folder, relative to this file."},
    kinds.ConditionSpec: {
        "field": "What is looked at, such as actor.id or meta.amount.",
        "operator": "How it is compared.",
        "value": "What it is held against.",
        "value_from": "The field that it is held against.",
    },
    kinds.RuleSpec: {
        "actions": "Actions, one or a list; `*` is any text.",
        "resources": "Resources, one or a list; `*` is any text.",
        "effect": "What the policy says to those.",
        "conditions": "All of these have to hold.",
    },
    kinds.PolicySpec: {
        "policy": "What the policy says, and to what.",
        "groups": "Groups that the policy is in.",
    },
    kinds.HostSpec: {
        "security": "`strict`: code without an actor and a scope may do nothing.",
        "stall_limit": "After so long a stall of the whole process it ends; 0 never.",
        "vm_memory": "What all Lua VMs together may hold.",
        "vm_recycle": "Calls after which a VM is replaced.",
        "env": "Environment variables that Lua may read.",
        "log_level": "The least level that is logged.",
    },
}
