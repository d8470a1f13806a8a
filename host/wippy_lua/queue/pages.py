"""Going through a queue page by page, for drivers that can look without taking."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from wippy_lua.queue.driver import Seen

FIRST_PAGE: Final = 10  #: messages of the first page: it tells how large they are
LARGEST_PAGE: Final = 100
PAGE_BYTES: Final = 4 * 1024 * 1024  #: of bodies in a page, about


def browse_pages(read: Callable[[Seen | None, int], list[Seen]]) -> Iterator[Seen]:
    """Yields what `read` returns: so many messages at most, those after one that was seen."""
    last, size = None, FIRST_PAGE
    while page := read(last, size):
        yield from page
        if len(page) < size:
            return
        last = page[-1]
        average = sum(len(seen.message.body) for seen in page) / len(page) + 1
        size = max(1, min(LARGEST_PAGE, int(PAGE_BYTES / average)))
