"""Real receivers on this machine: HTTP(S) that answers as told, hangs, resets or drips; and a mail server."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import ipaddress
import socket
import socketserver
import ssl
import struct
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HANG, RESET, DRIP, GARBAGE = "hang", "reset", "drip", "garbage"


@dataclass(frozen=True)
class Reply:
    """`ending`: what happens after the body, instead of a proper end."""

    status: int = 200
    body: bytes = b"ok"
    headers: dict[str, str] = field(default_factory=dict)
    ending: str = ""


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers with `answers` in turn, then with `always`; keeps what it got in `received`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: deque[Reply | str] = deque()
        self.always: Reply | str = Reply()
        self.received: list[Received] = []
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.handle(self)

            do_GET = do_POST

            def log_message(self, *_words: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_where: object) -> None:
                pass  # a client that refuses our certificate, or goes away

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        self.received.append(Received(request.path, dict(request.headers.items()), body))
        answer = self.answers.popleft() if self.answers else self.always
        if answer in (HANG, RESET):
            self._end(request, str(answer))
        elif answer == DRIP:
            with_patience = b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 500
            for position in range(len(with_patience)):
                request.wfile.write(with_patience[position : position + 1])
                if self.released.wait(0.01):
                    return
        elif answer == GARBAGE:
            request.wfile.write(b"220 this is no web server, it knows /hunter2\r\n")
        elif isinstance(answer, Reply):
            request.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                request.send_header(name, value)
            request.end_headers()
            with contextlib.suppress(ConnectionError):  # a client need not read it all
                request.wfile.write(answer.body)
            self._end(request, answer.ending)
        request.close_connection = True

    def _end(self, request: BaseHTTPRequestHandler, how: str) -> None:
        if how == HANG:
            self.released.wait(5)
        elif how == RESET:
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextlib.contextmanager
def receiver(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    one = Receiver(tls)
    try:
        yield one
    finally:
        one.close()


class MailReceiver:
    """Speaks as much SMTP as a client needs; `replies` says what to answer to a command instead of "yes"."""

    user, password = "ml", "hunter2 & co"

    def __init__(self, tls: ssl.SSLContext | None = None, *, at_once: bool = False) -> None:
        self.replies: dict[str, str] = {}
        self.banner: str | None = "220 mail.test ESMTP"
        self.offers = ["AUTH PLAIN", "SMTPUTF8", "8BITMIME"]
        self.mails: list[EmailMessage] = []
        self.envelopes: list[tuple[str, list[str]]] = []
        self.logins: list[tuple[str, str]] = []
        self.commands: list[str] = []
        self.encrypted: list[bool] = []
        self.released = threading.Event()
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):  # the client went away
                    talk = _MailTalk(outer, self.request, tls, at_once=at_once)
                    try:
                        talk.run()
                    finally:
                        talk.lines.close()
                        talk.connection.close()

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _MailTalk:
    """One connection."""

    def __init__(self, server: MailReceiver, plain: socket.socket, tls: ssl.SSLContext | None, *, at_once: bool):
        self.server = server
        self.tls = tls
        self.secure = at_once
        self.connection = tls.wrap_socket(plain, server_side=True) if at_once and tls else plain
        self.lines = self.connection.makefile("rb")
        self.sender, self.recipients = "", []

    def say(self, line: str) -> None:
        self.connection.sendall(line.encode() + b"\r\n")

    def run(self) -> None:
        if self.server.banner is None:
            self.server.released.wait(5)
            return
        self.say(self.server.banner)
        while line := self.lines.readline().decode().strip():
            verb = line.split()[0].upper()
            self.server.commands.append(verb)
            if verb in self.server.replies:
                if (reply := self.server.replies[verb]) == HANG:
                    self.server.released.wait(5)
                    return
                self.say(reply)
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                getattr(self, f"on_{verb.lower()}", self.unknown)(line)

    def unknown(self, line: str) -> None:
        self.say("502 what?")

    def on_ehlo(self, line: str) -> None:
        offers = ["mail.test", *self.server.offers]
        offers += ["STARTTLS"] if self.tls and not self.secure else []
        for offer in offers[:-1]:
            self.say(f"250-{offer}")
        self.say(f"250 {offers[-1]}")

    def on_starttls(self, line: str) -> None:
        self.say("220 go ahead")
        self.lines.close()
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.lines, self.secure = self.connection.makefile("rb"), True

    def on_auth(self, line: str) -> None:
        _, user, password = base64.b64decode(line.split()[2]).decode().split("\0")
        self.server.logins.append((user, password))
        good = (user, password) == (self.server.user, self.server.password)
        self.say("235 welcome" if good else f"535 wrong password {password}")

    def on_mail(self, line: str) -> None:
        self.sender = line.partition("<")[2].partition(">")[0]
        self.say("250 ok")

    def on_rcpt(self, line: str) -> None:
        recipient = line.partition("<")[2].partition(">")[0]
        if recipient.startswith("gone"):
            self.say("550 nobody of that name")
            return
        self.recipients.append(recipient)
        self.say("250 ok")

    def on_rset(self, line: str) -> None:
        self.say("250 ok")

    def on_data(self, line: str) -> None:
        self.say("354 go on")
        content = b""
        while (part := self.lines.readline()) != b".\r\n":
            content += part[1:] if part.startswith(b"..") else part
        self.server.mails.append(message_from_bytes(content, policy=policy.default))
        self.server.envelopes.append((self.sender, self.recipients))
        self.server.encrypted.append(self.secure)
        self.say("250 taken")


@contextlib.contextmanager
def mail_receiver(tls: ssl.SSLContext | None = None, *, at_once: bool = False) -> Iterator[MailReceiver]:
    one = MailReceiver(tls, at_once=at_once)
    try:
        yield one
    finally:
        one.close()


def self_made_certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for this machine that nobody trusts, and a server's TLS with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver of a test")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    return cert_file, context
