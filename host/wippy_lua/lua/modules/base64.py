"""Host side of the Lua module `base64`."""

from __future__ import annotations

import binascii
from collections.abc import Mapping

from wippy_lua.call import Call
from wippy_lua.errors import Kind, WippyError
from wippy_lua.lua.runtime import HostFunction

_TO_URL = bytes.maketrans(b"+/", b"-_")
# The other alphabet's characters become ones that no alphabet has.
_FROM_URL = bytes.maketrans(b"-_+/", b"+/!!")


class Base64Module:
    """The functions that stdlib/base64.lua calls."""

    def functions(self) -> Mapping[str, HostFunction]:
        """Returns the host functions by the names that the Lua side uses."""
        return {
            "encode": self.encode,
            "decode": self.decode,
            "encode_url": self.encode_url,
            "decode_url": self.decode_url,
        }

    def encode(self, _call: Call, data: bytes) -> bytes:
        """Returns base64."""
        return binascii.b2a_base64(data, newline=False)

    def decode(self, _call: Call, text: bytes) -> bytes:
        """Returns the bytes of base64."""
        return _decode(text.translate(None, b"\r\n"))

    def encode_url(self, _call: Call, data: bytes) -> bytes:
        """Returns base64 for URLs, without padding."""
        return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=")

    def decode_url(self, _call: Call, text: bytes) -> bytes:
        """Returns the bytes of base64 for URLs, padded or not."""
        padding = b"" if text.endswith(b"=") else b"=" * (-len(text) % 4)
        return _decode(text.translate(_FROM_URL) + padding)


def _decode(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise WippyError(f"no base64: {error}", kind=Kind.INVALID, retryable=False) from error
