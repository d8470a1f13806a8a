"""What a misspelt name was probably meant to be."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns "; did you mean 'x'?", or nothing when no known name is close."""
    # Imported only once something is wrong: a correct app should not pay for it at every start.
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
