"""The reference of the Lua library."""

from __future__ import annotations

import re

from tests.annotations import module_names, read_module
from tests.reference import FILE, render


def test_the_reference_is_current() -> None:
    assert FILE.read_text() == render(), "python -m tests.reference writes it anew"


def test_the_reference_has_every_function_and_every_link_leads_somewhere() -> None:
    page = FILE.read_text()
    headings = set(re.findall(r"^#+ `?([^`\n]*)`?$", page, re.MULTILINE))
    for module in module_names():
        for function in read_module(module).functions():
            heading = f"{function.name}("
            assert any(heading in each for each in headings), function.place
    anchors = {re.sub(r"[^a-z0-9_ -]", "", each.lower()).replace(" ", "-") for each in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= anchors
