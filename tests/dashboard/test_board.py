"""What was computed for one page is there for the next, whoever else asks meanwhile."""

import threading

from steelyard.dashboard import board
from steelyard.dashboard.board import Remembered


def test_what_was_made_is_shown_although_others_push_it_out_at_that_moment(monkeypatch):
    monkeypatch.setattr(board, "MOST_KEPT", 2)
    remembered, turn, others = Remembered(), threading.Lock(), iter("bc")

    class Crowded:
        """The others have their turn first, once there is something to push out."""

        def __enter__(self):
            if "a" in remembered._found:
                for other in others:
                    remembered.get(other, lambda: "another")
            turn.acquire()

        def __exit__(self, *error):
            turn.release()

    remembered._lock = Crowded()
    assert [remembered.get("a", lambda: "made"), remembered.get("a", lambda: "made")] == ["made", "made"]
