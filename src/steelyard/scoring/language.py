"""The language of a text, by langdetect's profiles (an optional package, which downloads nothing).

langdetect draws at random; here it draws from one seed, so that a text has one language. A text without letters has
none.
"""

from __future__ import annotations

import importlib.util
import threading

from steelyard.errors import EnvironmentFault

_turn = threading.Lock()  # its profiles are loaded by the first call, which no other may overtake


def ready() -> None:
    """Raise ``EnvironmentFault`` where the package is missing."""
    if importlib.util.find_spec("langdetect") is None:
        raise EnvironmentFault("telling languages apart needs a package. Try: pip install 'steelyard[ifeval]'")


def language_of(text: str) -> str | None:
    """The ISO 639-1 code, such as ``en`` or ``zh-cn``; ``None`` where it cannot be told."""
    ready()
    import langdetect

    with _turn:
        langdetect.DetectorFactory.seed = 0
        try:
            return str(langdetect.detect(text))
        except langdetect.LangDetectException:
            return None
