"""A way to the test server that can be cut: for everybody at once, or for one while a commit is on its way."""

import selectors
import socket
import threading
from contextlib import suppress
from pathlib import Path

import postgresql_server as server

SOCKET = ".s.PGSQL.5432"
COMMIT = b"COMMIT"


class Way:
    """A socket in a folder of its own, behind which is the server.

    ``swallows``: whether it takes everything from now on, and passes nothing on. ``lose_commits``: of how many commits
    from now on nobody hears; ``arrives``: whether the server does.
    """

    def __init__(self, folder):
        self._folder = Path(folder)
        self._folder.mkdir()
        self.swallows = False
        self.lose_commits, self.arrives, self.lost = 0, True, 0
        self.open()

    def address(self, schema, user="steelyard"):
        """The URL of the store in this schema, by this way; ``user`` may come with a password."""
        return f"postgresql://{user}@/steelyard?host={self._folder}&options=-csearch_path%3D{schema}"

    def open(self):
        """Lead to the server again."""
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self._folder / SOCKET))
        listening.listen()
        self._is_cut, self._has_ended = threading.Event(), threading.Event()
        threading.Thread(target=self._serve, args=(listening, self._is_cut, self._has_ended), daemon=True).start()

    def cut(self):
        """Break every connection off, and let none begin."""
        (self._folder / SOCKET).unlink(missing_ok=True)
        self._is_cut.set()
        self._has_ended.wait(10)

    def _serve(self, listening, is_cut, has_ended):
        others = {}
        with selectors.DefaultSelector() as ready:
            ready.register(listening, selectors.EVENT_READ)
            while not is_cut.is_set():
                for key, _ in ready.select(0.01):
                    if key.fileobj is listening:
                        client, there = listening.accept()[0], socket.socket(socket.AF_UNIX)
                        there.connect(f"{server.folder()}/{SOCKET}")
                        others[client], others[there] = (there, True), (client, False)
                        for end in (client, there):
                            ready.register(end, selectors.EVENT_READ)
                    elif key.fileobj in others and not self._carry(key.fileobj, *others[key.fileobj]):
                        for end in (key.fileobj, others[key.fileobj][0]):
                            ready.unregister(end)
                            del others[end]
                            end.close()
        for end in (listening, *others):
            end.close()
        has_ended.set()

    def _carry(self, source, goal, is_from_client):
        """Pass on what there is; whether there may be more."""
        with suppress(OSError):
            data = source.recv(1 << 20)
            if self.swallows:
                return bool(data)
            is_lost = is_from_client and COMMIT in data and self.lose_commits > 0
            if data and (self.arrives or not is_lost):
                goal.sendall(data)
            if is_lost:
                self.lose_commits, self.lost = self.lose_commits - 1, self.lost + 1
            return bool(data) and not is_lost
        return False
