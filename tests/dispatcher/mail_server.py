"""A mail server of the test's own: real SMTP on a free port, and misbehaviour on demand."""

import socketserver
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage


class MailServer(socketserver.ThreadingTCPServer):
    """Keeps the letters that it takes. `hang`: takes the connection and never says a word.
    `refuse`: addresses that it knows nothing of."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.letters: list[EmailMessage] = []
        self.hang = False
        self.refuse: set[str] = set()
        self.released = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def close(self) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()


class _Session(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        if self.server.hang:
            self.server.released.wait(60)
            return
        self._say("220 ready")
        for line in self.rfile:
            word = line.decode().strip()
            verb = word[:4].upper()
            if verb == "DATA":
                self._say("354 go on")
                self._take()
            elif verb == "RCPT" and any(address in word for address in self.server.refuse):
                self._say("550 no such user")
            elif verb == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def _take(self) -> None:
        body = b""
        for line in self.rfile:
            if line == b".\r\n":
                break
            body += line
        self.server.letters.append(message_from_bytes(body, policy=policy.default))
        self._say("250 taken")

    def _say(self, answer: str) -> None:
        self.wfile.write(f"{answer}\r\n".encode())
