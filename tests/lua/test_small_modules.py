"""The Lua modules `env`, `uuid`, `hash`, `base64` and `registry`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.lua.running import HEADER, HELPERS
from wippy_lua.errors import Kind
from wippy_lua.host import Host
from wippy_lua.testing import VirtualClock

MODULES = ("env", "uuid", "hash", "base64", "registry")
ENTRIES = """\
- {name: config, kind: host.config, env: [HOME, UNSET, ODD]}
- {name: memory, kind: queue.driver.memory}
- {name: tasks, kind: queue.queue, driver: memory, meta: {team: red, rank: 1}}
- {name: done, kind: queue.queue, driver: memory, meta: {team: blue}}
- {name: f, kind: function.lua, source: "return print -- secret", meta: {team: red}}
"""
NOW = 1_795_557_600.5


def evaluate(folder: Path, expression: str) -> Any:
    requires = "".join(f'local {name} = require("{name}")\n' for name in MODULES)
    (folder / "_index.yaml").write_text(HEADER + ENTRIES)
    (folder / "main.lua").write_text(
        f"{HELPERS}{requires}return {{main = function() return {expression} end}}"
    )
    values = {"HOME": "/home/me", "ODD": "\udcff", "SECRET": "x"}
    return Host(folder, env=values, clock=VirtualClock(NOW)).run_main()


def kind_of(folder: Path, expression: str) -> object:
    return evaluate(folder, f"problem({expression})").get("kind")


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ('env.get("SECRET")', Kind.PERMISSION_DENIED),
        ('env.get("NOBODY")', Kind.PERMISSION_DENIED),
        ('env.get("\\xff")', Kind.PERMISSION_DENIED),
        ('env.get("")', Kind.INVALID),
        ("env.get(5)", Kind.INVALID),
        ("uuid.v3('me', 'x')", Kind.INVALID),
        ("uuid.v5(uuid.DNS)", Kind.INVALID),
        ("uuid.version('me')", Kind.INVALID),
        ("uuid.variant(5)", Kind.INVALID),
        ("uuid.parse(uuid.DNS .. '0')", Kind.INVALID),
        ("uuid.format(uuid.DNS, 'octal')", Kind.INVALID),
        ("uuid.format(('a'):rep(100000))", Kind.INVALID),
        ("hash.md5()", Kind.INVALID),
        ("hash.fnv32(5)", Kind.INVALID),
        ("hash.hmac_sha256('x')", Kind.INVALID),
        ("hash.hmac_sha256({}, 'x')", Kind.INVALID),
        ("base64.encode(5)", Kind.INVALID),
        ("base64.decode('aGVsbG8')", Kind.INVALID),
        ("base64.decode('aGVs=bG8=')", Kind.INVALID),
        ("base64.decode('__4=')", Kind.INVALID),
        ("base64.decode_url('//4')", Kind.INVALID),
        ("base64.decode_url('a')", Kind.INVALID),
        ("registry.get('app:nobody')", Kind.NOT_FOUND),
        ("registry.get()", Kind.INVALID),
        ("registry.find('app')", Kind.INVALID),
        ("registry.find({'app'})", Kind.INVALID),
        ("registry.find({colour = 'red'})", Kind.INVALID),
        ("registry.find({kind = print})", Kind.INVALID),
    ],
)
def test_arguments_are_checked(tmp_path: Path, expression: str, kind: Kind) -> None:
    assert kind_of(tmp_path, expression) == kind


def test_env_gives_what_the_app_allows(tmp_path: Path) -> None:
    expression = '{env.get("HOME"), env.get("UNSET") == nil, env.get("ODD"), env.get_all()}'
    everything = {"HOME": "/home/me", "ODD": b"\xff"}
    assert evaluate(tmp_path, expression) == ["/home/me", True, b"\xff", everything]


@pytest.mark.parametrize("version", [1, 4, 7])
def test_new_uuids_differ_and_are_of_their_version(tmp_path: Path, version: int) -> None:
    made = evaluate(
        tmp_path,
        f"""(function()
          local made = {{}}
          for i = 1, 100 do made[i] = uuid.v{version}() end
          return made
        end)()""",
    )
    assert len(set(made)) == 100
    assert {(uuid.UUID(each).version, uuid.UUID(each).variant) for each in made} == {
        (version, uuid.RFC_4122)
    }


@pytest.mark.parametrize("name", [b"example", b"", b"\xff\x00", "é".encode()])
def test_named_uuids_are_those_of_the_standard(tmp_path: Path, name: bytes) -> None:
    escaped = "".join(f"\\x{byte:02x}" for byte in name)
    found = evaluate(
        tmp_path, f'{{uuid.v3(uuid.URL, "{escaped}"), uuid.v5(uuid.URL, "{escaped}")}}'
    )
    space = uuid.NAMESPACE_URL.bytes + name
    assert found == [
        str(uuid.UUID(bytes=hashlib.md5(space, usedforsecurity=False).digest(), version=3)),
        str(uuid.UUID(bytes=hashlib.sha1(space, usedforsecurity=False).digest()[:16], version=5)),
    ]


def test_a_uuid_tells_when_it_was_made(tmp_path: Path) -> None:
    expression = "{uuid.parse(uuid.v1()), uuid.parse(uuid.v7()), uuid.parse(uuid.v4())}"
    first, seventh, fourth = evaluate(tmp_path, expression)
    assert first.pop("node")[1] in "13579bdf"  # the bit of a node that is no machine's address
    assert first == {"version": 1, "variant": "RFC4122", "timestamp": int(NOW)}
    assert seventh == {"version": 7, "variant": "RFC4122", "timestamp": int(NOW)}
    assert fourth == {"version": 4, "variant": "RFC4122"}


@pytest.mark.parametrize(
    ("text", "standard"),
    [
        ("6BA7B810-9DAD-11D1-80B4-00C04FD430C8", True),
        ("6ba7b8109dad11d180b400c04fd430c8", True),
        ("urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8", True),
        ("URN:UUID:6BA7B810-9dad-11d1-80b4-00c04fd430c8", True),
        ("6ba7b810-9dad-11d1-80b4-00c04fd430c", False),
        ("6ba7b81-09dad-11d1-80b4-00c04fd430c8", False),
        ("6ba7b810-9dad-11d1-80b4-00c04fd430cg", False),
        ("urn:uuid:", False),
        ("", False),
    ],
)
def test_forms_of_a_uuid(tmp_path: Path, text: str, standard: bool) -> None:
    found = evaluate(tmp_path, f'{{uuid.validate("{text}"), (uuid.format("{text}"))}}')
    assert found == ([True, str(uuid.NAMESPACE_DNS)] if standard else [False])


@pytest.mark.parametrize("size", [0, 1, 1000, 3 * 1024 * 1024])
@pytest.mark.parametrize("name", ["md5", "sha1", "sha256", "sha512"])
def test_hashes_are_those_of_the_standard(tmp_path: Path, name: str, size: int) -> None:
    data = f'("\\xff"):rep({size})'
    found = evaluate(
        tmp_path,
        f'{{hash.{name}({data}), hash.{name}({data}, true), hash.hmac_{name}({data}, "k\\0"),'
        f' hash.hmac_{name}({data}, "", true)}}',
    )
    plain = hashlib.new(name, b"\xff" * size)
    keyed = hmac.new(b"k\0", b"\xff" * size, name)
    raw = hmac.new(b"", b"\xff" * size, name)
    assert found[0] == plain.hexdigest()
    assert found[2] == keyed.hexdigest()
    assert [_bytes(found[1]), _bytes(found[3])] == [plain.digest(), raw.digest()]


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


@pytest.mark.parametrize(
    ("data", "fnv32", "fnv64"),
    [
        ("", "811c9dc5", "cbf29ce484222325"),
        ("foobar", "bf9cf968", "85944171f73967e8"),
    ],
)
def test_fnv_is_that_of_its_authors(tmp_path: Path, data: str, fnv32: str, fnv64: str) -> None:
    expression = f"""{{hash.fnv32("{data}"), hash.fnv64("{data}"),
      hash.fnv32("{data}", true), hash.fnv64("{data}", true)}}"""
    found = evaluate(tmp_path, expression)
    assert found[:2] == [fnv32, fnv64]
    assert [_bytes(each).hex() for each in found[2:]] == [fnv32, fnv64]


@pytest.mark.parametrize("data", [b"", b"a", b"ab", b"abc", bytes(range(256))])
def test_base64_is_that_of_the_standard(tmp_path: Path, data: bytes) -> None:
    escaped = '"' + "".join(f"\\x{byte:02x}" for byte in data) + '"'
    encoded, url, same, url_same = evaluate(
        tmp_path,
        f"""{{base64.encode({escaped}), base64.encode_url({escaped}),
              base64.decode(base64.encode({escaped})) == {escaped},
              base64.decode_url(base64.encode_url({escaped})) == {escaped}}}""",
    )
    assert encoded == base64.b64encode(data).decode()
    assert url == base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert same
    assert url_same


def test_base64_skips_line_breaks_and_takes_padding(tmp_path: Path) -> None:
    expression = '{base64.decode("aGVs\\r\\nbG8=\\n"), base64.decode_url("aGVsbG8=")}'
    assert evaluate(tmp_path, expression) == ["hello", "hello"]


def test_a_registry_entry_is_plain_data(tmp_path: Path) -> None:
    found = evaluate(tmp_path, 'registry.get("app:tasks")')
    assert found.pop("data")["driver"] == "app:memory"
    assert found == {
        "id": "app:tasks",
        "namespace": "app",
        "name": "tasks",
        "kind": "queue.queue",
        "meta": {"team": "red", "rank": 1},
    }


@pytest.mark.parametrize("entry", ["app:memory", "app:config"])
def test_what_may_hold_secrets_has_no_data(tmp_path: Path, entry: str) -> None:
    assert "data" not in evaluate(tmp_path, f'registry.get("{entry}")')


def test_no_entry_shows_its_lua(tmp_path: Path) -> None:
    assert not re.search("secret", str(evaluate(tmp_path, "registry.find()")))


@pytest.mark.parametrize(
    ("criteria", "names"),
    [
        ("{}", ["config", "memory", "tasks", "done", "f"]),
        ("", ["config", "memory", "tasks", "done", "f"]),
        ('{kind = "queue"}', ["memory", "tasks", "done"]),
        ('{kind = "queue.queue", ["meta.team"] = "red"}', ["tasks"]),
        ('{[".kind"] = "function.lua", [".name"] = "f"}', ["f"]),
        ('{["meta.rank"] = 1}', ["tasks"]),
        ('{namespace = "other"}', []),
        ("{kind = 5}", []),
    ],
)
def test_entries_are_found_by_criteria(tmp_path: Path, criteria: str, names: list[str]) -> None:
    found = evaluate(tmp_path, f"registry.find({criteria})")
    assert [entry["name"] for entry in found] == names
