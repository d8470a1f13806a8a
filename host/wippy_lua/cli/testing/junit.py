"""A run of tests as JUnit XML, the one format that every CI server reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from wippy_lua.cli.testing.result import Result, Run

#: What XML 1.0 cannot hold, escaped or not.
_UNFIT = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(run: Run, path: Path) -> None:
    """Writes the file, and the folder it is in; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    root = to_xml(run)
    ET.indent(root)
    path.write_bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def to_xml(run: Run) -> ET.Element:
    """Returns `testsuites`: one suite for each of the tests' suites."""
    root = ET.Element("testsuites", {"name": "wippy-lua", **_counts(run.results, run.seconds)})
    for suite in dict.fromkeys(result.suite for result in run.results):
        results = [result for result in run.results if result.suite == suite]
        element = ET.SubElement(
            root,
            "testsuite",
            {"name": _fit(suite), **_counts(results, sum(each.seconds for each in results))},
        )
        for result in results:
            _add_case(element, result)
    return root


def _counts(results: Sequence[Result], seconds: float) -> dict[str, str]:
    return {
        "tests": str(len(results)),
        "failures": str(sum(result.status == "failed" for result in results)),
        "errors": "0",
        "skipped": str(sum(result.status == "skipped" for result in results)),
        "time": f"{seconds:.3f}",
    }


def _add_case(suite: ET.Element, result: Result) -> None:
    # The class is what servers group by, the name what they show.
    facts = {"name": _fit(result.name), "classname": _fit(result.suite)}
    failure = result.failure
    if failure is not None and failure.file:
        facts |= {"file": _fit(failure.file), "line": str(failure.line)}
    case = ET.SubElement(suite, "testcase", {**facts, "time": f"{result.seconds:.3f}"})
    if result.status == "skipped":
        ET.SubElement(case, "skipped", {"message": "interrupted"})
    if failure is not None:
        kind = {"message": _fit(failure.message), "type": failure.kind or "failure"}
        told = ET.SubElement(case, "failure", kind)
        told.text = _fit("\n".join(part for part in (failure.message, failure.stack) if part))
        if result.log:
            ET.SubElement(case, "system-out").text = _fit("\n".join(map(str, result.log)))


def _fit(text: str) -> str:
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)
