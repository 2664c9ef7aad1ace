"""A TCP proxy: breaks the connection of some processes to a server without touching the server.

The processes under test are given the proxy's address; the test itself goes straight, so it can
still look at the rows while the others see an outage.
"""

import contextlib
import selectors
import socket
import threading
from urllib.parse import urlsplit

from tests.servers import free_port


class Proxy:
    """`url` leads to the same place as `target`, by way of a free port on loopback."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self.address = (parts.hostname or "127.0.0.1", parts.port)
        self.port = free_port()
        credentials, _, _ = parts.netloc.rpartition("@")
        where = f"127.0.0.1:{self.port}"
        self.url = parts._replace(
            netloc=f"{credentials}@{where}" if credentials else where
        ).geturl()
        self._open = threading.Event()  # cleared: bytes wait, connections stay
        self._open.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener: socket.socket | None = None

    def start(self) -> "Proxy":
        """Accepts connections (again)."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Refuses new connections and drops the open ones, as a stopped server does."""
        self.thaw()
        if self._listener is not None:
            # shutdown wakes the thread that sits in accept(); close alone would not.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.drop()

    def drop(self) -> None:
        """Drops the open connections; new ones are welcome."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Connections stay open and nothing passes, as behind a dead network."""
        self._open.clear()

    def thaw(self) -> None:
        self._open.set()

    @property
    def connections(self) -> int:
        return len(self._pairs)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.address, timeout=5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            pair = (client, server)
            self._pairs.append(pair)
            threading.Thread(target=self._pump, args=(pair,), daemon=True).start()

    def _pump(self, pair: tuple[socket.socket, socket.socket]) -> None:
        other = {pair[0]: pair[1], pair[1]: pair[0]}
        with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
            for end in pair:
                selector.register(end, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    data = key.fileobj.recv(65536)
                    self._open.wait()
                    if not data:
                        raise ConnectionResetError
                    other[key.fileobj].sendall(data)
        if pair in self._pairs:
            self._pairs.remove(pair)
        for end in pair:
            end.close()
