"""Who may use the server: what a request has to show, and what a browser is told about the page.

docs/ui-security.md says against what each of these is.  Nothing here needs the packages that serve.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator

Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case, and values, as ASGI has them."""

SOCKET = "/socket"
TICKET_SECONDS = 60.0
"""How long the address that the browser is started with can be used."""

RESPONSE_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    # The next server on this port may be of another version.
    (b"cache-control", b"no-store"),
)
"""What every answer has."""


class Access:
    """The secrets of a server on ``port``: a token that is shown to the user, and a cookie that it is changed for.

    The browser that the server starts gets a ticket in place of the token.  Its address can be seen in the list of
    processes, by others too; a ticket is good for one use, within a minute.
    """

    def __init__(self, port: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.token = secrets.token_urlsafe(32)
        self._cookie = secrets.token_urlsafe(32)
        self._tickets: dict[str, float] = {}  # and until when each can be used
        self._lock = threading.Lock()
        # Browsers send cookies to all ports of a host, so that those of two servers need two names.
        self.cookie_name = f"kdb-{port}"
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        if port == 80:  # which browsers leave out
            self._hosts |= {"127.0.0.1", "localhost"}

    def ticket(self) -> str:
        """A token for one use."""
        made = secrets.token_urlsafe(32)
        with self._lock:
            self._tickets[made] = self._clock() + TICKET_SECONDS
        return made

    def host_is_own(self, headers: Headers) -> bool:
        """Whether a request was made to this machine by one of its own names, and not by one that leads here."""
        return _only(headers, b"host") in self._hosts

    def origin_is_own(self, headers: Headers) -> bool:
        """Whether the page that makes a request came from this server, by the name that it asks now."""
        host = _only(headers, b"host")
        return host in self._hosts and _only(headers, b"origin") == f"http://{host}"

    def exchanged(self, token: str) -> str | None:
        """The ``Set-Cookie`` for a token or a ticket; None for what is neither."""
        if not (self._is_ticket(token) or _same(token, self.token)):
            return None
        return f"{self.cookie_name}={self._cookie}; Path={SOCKET}; HttpOnly; SameSite=Strict"

    def has_cookie(self, headers: Headers) -> bool:
        """Whether a request has the cookie."""
        pairs = (pair.strip().partition("=") for value in _values(headers, b"cookie") for pair in value.split(";"))
        return any(name == self.cookie_name and _same(value, self._cookie) for name, _, value in pairs)

    def _is_ticket(self, token: str) -> bool:
        with self._lock:
            found = next((each for each in self._tickets if _same(token, each)), None)
            return found is not None and self._clock() <= self._tickets.pop(found)


def _values(headers: Headers, name: bytes) -> Iterator[str]:
    return (value.decode("latin-1") for each, value in headers if each.lower() == name)


def _only(headers: Headers, name: bytes) -> str | None:
    """A header's value; None where there is none, or several."""
    found = list(_values(headers, name))
    return found[0].lower() if len(found) == 1 else None


def _same(given: str, secret: str) -> bool:
    """Compared in a time that tells nothing of the secret."""
    return secrets.compare_digest(given.encode("utf-8", "surrogatepass"), secret.encode())
