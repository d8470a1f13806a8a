"""What is measured: how many messages, of which size, by how many workers."""

from __future__ import annotations

from dataclasses import dataclass

#: Lua that makes the body of message `i`: some 80 bytes of JSON, and 48 more for each item.
BODY = """
local function body_of(i, items)
  local body = {id = i, action = "process", user = "someone@example.org", data = "0123456789abcdef"}
  if items > 0 then
    body.items = {}
    for n = 1, items do
      body.items[n] = {sku = "A-1001-blue", qty = n, price = 12.5, gift = n % 2 == 0}
    end
  end
  return body
end
"""


@dataclass(frozen=True, slots=True)
class Workload:
    """One run: so many messages, each with so many items in its body."""

    count: int
    items: int
    concurrency: int = 4

    @property
    def padding(self) -> int:
        """Bytes of filler that make a body of the same size outside Lua."""
        return 20 + 54 * self.items
