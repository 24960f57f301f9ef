"""Reading `multipart/related` as it comes: one part after the other, each in pieces (RFC 2046 5.1, PS3.18 8.6.1.2)."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message

LONGEST_HEADERS = 16_384  # bytes before a part's body


class BrokenMultipart(ValueError):  # noqa: N818
    """The body ends before its closing delimiter, or is no multipart at all."""


def boundary_of(content_type: str) -> tuple[str, bytes | None]:
    """Media type in lower case, and the boundary where there is one."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_param("boundary")
    return message.get_content_type(), boundary.encode("latin-1") if isinstance(boundary, str) and boundary else None


def parts_of(pieces: Iterator[bytes], boundary: bytes) -> Iterator[Iterator[bytes]]:
    """The body of each part as an iterator of its pieces; what is not read of one is skipped before the next.

    At most one piece is in memory.

    Raises:
        BrokenMultipart: the body ends too early, or is none; raised while a part is read, or between two.
    """
    reader = _Reader(pieces, boundary)
    for _ in reader.until_delimiter():
        pass  # the preamble
    while reader.another_part():
        reader.skip_headers()
        body = reader.until_delimiter()
        yield body
        for _ in body:
            pass


class _Reader:
    def __init__(self, pieces: Iterator[bytes], boundary: bytes) -> None:
        self._pieces = pieces
        self._delimiter = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n")  # so that a delimiter at the very start is one

    def _more(self) -> None:
        for piece in self._pieces:
            if piece:
                self._buffer += piece
                return
        raise BrokenMultipart("The answer ends before its closing delimiter.")

    def until_delimiter(self) -> Iterator[bytes]:
        """Pieces up to the next delimiter, which is taken off too."""
        while (at := self._buffer.find(self._delimiter)) < 0:
            sure = len(self._buffer) - len(self._delimiter) + 1
            if sure > 0:
                yield bytes(self._buffer[:sure])
                del self._buffer[:sure]
            self._more()
        if at:
            yield bytes(self._buffer[:at])
        del self._buffer[: at + len(self._delimiter)]

    def another_part(self) -> bool:
        """Whether the delimiter just read begins a part, rather than ending the whole."""
        while len(self._buffer) < 2:
            self._more()
        return not self._buffer.startswith(b"--")

    def skip_headers(self) -> None:
        """To where the body begins. The line of the delimiter may end in spaces, and there may be no headers."""
        while (at := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > LONGEST_HEADERS:
                raise BrokenMultipart("The headers of a part have no end.")
            self._more()
        del self._buffer[: at + 4]
