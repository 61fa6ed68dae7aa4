"""API keys: read from the environment by name, carried in one type that does not print, scrubbed from every text.

What is scrubbed is what is known and what looks like a key. Known is every key that was read here, and every value of
an environment variable that is called a key, a token, a secret or a password: foreign code in this process reads those
by itself, and its exceptions may quote them. So is the password in an address there: a proxy may quote what it was
sent. A key is also found in the forms that encoders give it.
"""

from __future__ import annotations

import base64
import functools
import html
import os
import re
import urllib.parse
from collections.abc import Iterator

REMOVED = "[key removed]"
SHORTEST = 6
SHORTEST_FOREIGN = 12

_CALLED_A_KEY = re.compile(
    r"(?:^|_)(?:API_?KEY|ACCESS_KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$|^PGPASSWORD$", re.IGNORECASE
)

_CALLED_AN_ADDRESS = re.compile(r"(?:^|_)(?:PROXY|URL|URI|DSN)$|^STEELYARD_STORE$", re.IGNORECASE)
_USER_AND_PASSWORD = re.compile(r"://([^/\s@:]*):([^/\s@]+)@")

_PATTERNS = re.compile(
    r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_*\-]{6,}"  # OpenAI, Anthropic (sk-ant-), OpenRouter (sk-or-), DeepSeek
    r"|AIza[A-Za-z0-9_\-]{10,}"  # Google
    r"|(?<![A-Za-z0-9])(?:hf|gsk|xai|tgp_v1|pplx|ghp|gho|ghs|github_pat|glpat)[_-][A-Za-z0-9_\-]{8,}"
    r"|(?<![A-Z0-9])AKIA[A-Z0-9]{12,}"  # AWS
    r"|(?<![A-Za-z0-9])eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{4,}"  # a JSON web token
    r"|(?<=Bearer )[A-Za-z0-9._~+/\-]{8,}=*|(?<=Basic )[A-Za-z0-9+/]{8,}=*"
    r"|(?<=://)[^/\s@:]*:[^/\s@]*(?=@)"  # userinfo of a URL: user:password
    r"|(?<=://)(?<!postgresql://)(?<!postgres://)[^/\s@]+(?=@)"  # or a token alone, which no database takes
    r"|(?<=[?&]key=)[^&\s\"']+|(?<=[?&]api_key=)[^&\s\"']+|(?<=[?&]api-key=)[^&\s\"']+"
    r"|(?<![A-Za-z0-9_\-])[A-Za-z0-9_\-]{2,}\*{3,}[A-Za-z0-9_\-]+"  # a key that a service has masked in part
)
"""The last one is tried once for a word, not from each of its letters: what a server sends may be one long word."""

_ESCAPED_IN_JSON = (("[&<>]", "04x"), ("[&<>=']", "04x"), ("[&<>'`+]", "04X"))
"""What encoders that mind HTML write as ``\\u0026`` and the like, and in which digits: Go's, Gson, .NET's."""

_PERCENT = re.compile("%[0-9A-F]{2}")

_read: set[str] = set()


class Secret:
    """A key that shows itself only to ``reveal``: not in ``repr``, ``str``, a pickle or an encoder's output."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        if len(value) >= SHORTEST:
            _read.add(value)

    def reveal(self) -> str:
        """The key itself, for the header of a request."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not written anywhere")


class InVariable(Secret):
    """An environment variable in the place of the key that it holds, which is not read: its name, as shells call it."""

    __slots__ = ()

    def __init__(self, name: str) -> None:
        self._value = f"${name}"


def from_environment(*names: str) -> Secret | None:
    """The key held by the first of these environment variables that is set; ``None`` where all are unset or blank."""
    for name in names:
        value = os.environ.get(name, "").strip()
        if value:
            return Secret(value)
    return None


def scrub(text: str) -> str:
    """``text`` without any known key in any of its forms, nor anything shaped like a key: for messages."""
    return _PATTERNS.sub(REMOVED, scrub_known(text))


def scrubbed_beginning(text: str, most: int) -> str:
    """At most so many characters of ``text`` without keys. Cut first, half a key would be no known one any more."""
    return scrub(text)[:most]


def scrub_known(text: str) -> str:
    """``text`` without any known key in any of its forms: for what a model wrote, of which nothing else may change."""
    for value in _known():
        for form in _forms(value):
            if form in text:
                text = text.replace(form, REMOVED)
    return text


def read_so_far() -> set[str]:
    """Every key that was read here, for a process which is to scrub it as well."""
    return set(_read)


def known_forms() -> tuple[bytes, ...]:
    """Every form of every known key as bytes, for a look at bytes that are about to be written."""
    return tuple(form.encode() for value in _known() for form in _forms(value))


def looks_like_key(text: str) -> bool:
    """Whether ``text`` holds a known key, or something shaped like one."""
    return scrub(text) != text


def keyless_environment() -> dict[str, str]:
    """The environment for a child process that needs none of the keys in it; the store's address may hold one."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != "STEELYARD_STORE" and not _CALLED_A_KEY.search(name)
    }


def _known() -> list[str]:
    """The longest first, so that a key which begins with another one goes as a whole."""
    return sorted(_read | set(_foreign()), key=len, reverse=True)


def _foreign() -> Iterator[str]:
    for name in os.environ:  # most values are never looked at: to read one costs more than to know its name
        if _is_called_a_key(name) and len(value := os.environ.get(name, "")) >= SHORTEST_FOREIGN:
            yield value
        elif _is_called_an_address(name):
            yield from _passwords(os.environ.get(name, ""))


@functools.lru_cache(maxsize=1024)
def _is_called_a_key(name: str) -> bool:
    return bool(_CALLED_A_KEY.search(name))


@functools.lru_cache(maxsize=1024)
def _is_called_an_address(name: str) -> bool:
    return bool(_CALLED_AN_ADDRESS.search(name))


@functools.lru_cache(maxsize=1024)
def _passwords(address: str) -> tuple[str, ...]:
    """The password in an address, alone and behind its user, as both are sent: the latter is never a common word."""
    found = _USER_AND_PASSWORD.search(address)
    if found is None:
        return ()
    user, password = urllib.parse.unquote(found[1]), urllib.parse.unquote(found[2])
    return tuple(value for value in (password, f"{user}:{password}") if len(value) >= SHORTEST_FOREIGN)


def _escaped(value: str, characters: str, digits: str) -> str:
    return re.sub(characters, lambda found: f"\\u{ord(found[0]):{digits}}", value)


@functools.lru_cache(maxsize=256)
def _forms(value: str) -> tuple[str, ...]:
    """The key as it is, in small letters (names of encodings and hosts are written so), percent-encoded, as JSON and
    HTML may write it, in hexadecimal, and in base64 at each of the three offsets it can have. Digits above 9 are
    capital letters or, of .NET's encoder for one, small ones.
    """
    raw = value.encode()
    forms = {value, value.lower(), raw.hex(), raw.hex().upper()}
    for quoted in (urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value)):
        forms |= {quoted, _PERCENT.sub(lambda found: found[0].lower(), quoted)}
    forms |= {value.replace("/", "\\/"), html.escape(value)}
    forms |= {_escaped(value, characters, digits) for characters, digits in _ESCAPED_IN_JSON}
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        inner = encoded[(0, 2, 3)[offset] : len(raw + b"\0" * offset) * 8 // 6]
        forms |= {inner, inner.translate(str.maketrans("+/", "-_"))}
    return tuple(sorted(forms, key=len, reverse=True))
