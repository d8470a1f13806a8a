"""Completion in shells: the script that a shell loads, and what it is offered.

bash splits words at colons and equals signs, as IDs and headers have them. So its script hands
over the line as it stands, and gets only what comes after the last such sign.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    shell_complete,
    split_arg_string,
)

from wippy_lua.cli import VARIABLE

NAME = "wippy-lua"

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' reply type value
    reply=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete $1)
    COMPREPLY=()
    for line in $reply; do
        IFS=',' read -r type value <<< "$line"
        if [[ $type == dir ]]; then
            compopt -o dirnames
        elif [[ $type == file ]]; then
            compopt -o default
        else
            COMPREPLY+=("$value")
            [[ $value == *= ]] && compopt -o nospace
        fi
    done
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class WholeLineBash(BashComplete):
    """click's completion for bash, on the line as it was typed."""

    name = "bash"
    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        incomplete = words.pop() if words and not line[-1].isspace() else ""
        return words, incomplete

    def format_completion(self, item: CompletionItem) -> str:
        _, incomplete = self.get_completion_args()
        breaks = os.environ.get("COMP_WORDBREAKS", "")
        done = max((incomplete.rfind(sign) for sign in ":=" if sign in breaks), default=-1)
        return f"{item.type},{item.value[done + 1 :]}"


def script(command: click.Command, shell: str) -> str:
    """Returns the script for a shell."""
    add_completion_class(WholeLineBash)
    found: Any = get_completion_class(shell)
    source: str = found(command, {}, NAME, VARIABLE).source()
    return source


def answer(command: click.Command) -> None:
    """Answers a shell and ends the process."""
    add_completion_class(WholeLineBash)
    sys.exit(shell_complete(command, {}, NAME, VARIABLE, os.environ[VARIABLE]))


def queue_ids(app: Path, incomplete: str) -> list[CompletionItem]:
    """Returns the queues of an app; none when it does not load."""
    from wippy_lua.errors import ConfigError
    from wippy_lua.operations.opening import load_queues

    try:
        registry = load_queues(app, os.environ)
    except ConfigError:
        return []
    ids = sorted(entry.id for entry in registry.find("queue.queue"))
    return [CompletionItem(each) for each in ids if each.startswith(incomplete)]


def header_names(incomplete: str, *, of_letters: bool) -> list[CompletionItem]:
    """Returns names of headers that the host knows, with the equals sign that comes next."""
    from wippy_lua.queue.message import NEUTRAL_HEADERS

    names = {*NEUTRAL_HEADERS}
    if of_letters:
        names |= {"x_original_queue", "x_dead_letter_reason", "x_attempts", "x_error_kind"}
    return [CompletionItem(f"{name}=") for name in sorted(names) if name.startswith(incomplete)]
