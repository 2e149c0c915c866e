"""Alerts by e-mail, against a mail server on loopback, with and without TLS."""

import base64
import datetime as dt
import email
import email.policy
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from loopline.errors import ChannelError, SettingError
from loopline.monitoring.channels.base import Alert
from loopline.monitoring.channels.email import Email

ALERT = Alert("churn", "production", 7, "drift", "temp has drifted\r\nBcc: x@y.example", (), "m-1")


class Server:
    """Speaks as much SMTP as a sender needs, and remembers what it was told."""

    def __init__(self, context: ssl.SSLContext | None = None, *, implicit: bool = False) -> None:
        self.context, self.implicit = context, implicit
        self.said: list[str] = []
        self.messages: list[bytes] = []
        self.refuses = ""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.settimeout(10)
            try:
                if self.implicit and self.context is not None:
                    connection = self.context.wrap_socket(connection, server_side=True)
                self._talk(connection)
            except OSError:
                pass
            finally:
                connection.close()

    def _talk(self, connection: socket.socket, *, secure: bool = False) -> None:
        reader = connection.makefile("rb")
        if not secure:
            connection.sendall(b"220 here\r\n")
        with reader:
            self._answer(connection, reader, secure=secure or self.implicit)

    def _answer(self, connection: socket.socket, reader: BinaryIO, *, secure: bool) -> None:
        while line := reader.readline():
            word = line.decode().strip()
            self.said.append(word)
            verb = word.split(" ")[0].upper()
            if self.refuses and word.upper().startswith(self.refuses):
                connection.sendall(b"550 no secrets: s3cret\r\n")
            elif verb == "EHLO":
                offers = [b"AUTH PLAIN"]
                offers += [b"STARTTLS"] if self.context is not None and not secure else []
                connection.sendall(
                    b"250-here\r\n" + b"".join(b"250-%b\r\n" % o for o in offers[:-1])
                )
                connection.sendall(b"250 %b\r\n" % offers[-1])
            elif verb == "STARTTLS" and self.context is not None:
                connection.sendall(b"220 go\r\n")
                reader.close()
                with self.context.wrap_socket(connection, server_side=True) as wrapped:
                    self._talk(wrapped, secure=True)
                return
            elif verb == "AUTH":
                connection.sendall(b"235 ok\r\n")
            elif verb == "DATA":
                connection.sendall(b"354 go\r\n")
                lines = []
                while (line := reader.readline()) != b".\r\n":
                    lines.append(line)
                self.messages.append(b"".join(lines))
                connection.sendall(b"250 ok\r\n")
            elif verb == "QUIT":
                connection.sendall(b"221 bye\r\n")
                return
            else:
                connection.sendall(b"250 ok\r\n")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.fixture
def serving(certificate: Path) -> Iterator[Callable[..., Server]]:
    running: list[Server] = []

    def start(*, tls: bool = False, implicit: bool = False) -> Server:
        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
        running.append(Server(context, implicit=implicit))
        return running[-1]

    yield start
    for server in running:
        server.listener.close()


def channel(server: Server, trusted: Path | None = None, **more: str) -> Email:
    scheme = "smtps" if server.implicit else "smtp"
    context = ssl.create_default_context(cafile=str(trusted)) if trusted else None
    return Email(
        f"{scheme}://me@127.0.0.1:{server.port}", "Loopline <loop@a.example>",
        ("ada@b.example", "Bo <bo@c.example>"), trusted=context, **more,
    )  # fmt: skip


@pytest.mark.parametrize("implicit", [False, True], ids=["STARTTLS", "TLS from the start"])
def test_a_message_goes_encrypted_to_all_and_no_header_comes_from_data(
    serving, certificate, implicit
):
    server = serving(tls=True, implicit=implicit)

    channel(server, certificate, password="pw").send(ALERT)

    [content] = server.messages
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert message["Subject"] == "[churn] temp has drifted Bcc: x@y.example"
    assert message["To"] == "ada@b.example, Bo <bo@c.example>"
    assert message["Message-ID"] == "<m-1@churn.loopline>"
    assert message["Bcc"] is None
    assert "temp has drifted" in message.get_content()
    recipients = [word for word in server.said if word.upper().startswith("RCPT")]
    assert [word.split("<")[1].split(">")[0] for word in recipients] == [
        "ada@b.example", "bo@c.example"
    ]  # fmt: skip
    [login] = [word for word in server.said if word.startswith("AUTH PLAIN")]
    assert base64.b64decode(login.split(" ")[2]) == b"\0me\0pw"
    if not implicit:
        assert server.said.index("STARTTLS") < server.said.index(login)


def test_a_certificate_that_nobody_trusts_gets_neither_password_nor_message(serving):
    server = serving(tls=True)

    with pytest.raises(ChannelError, match=r"not taken by 127\.0\.0\.1: SSLCertVerificationError"):
        channel(server, password="pw").send(ALERT)

    assert server.messages == []
    assert not [word for word in server.said if word.startswith("AUTH")]


def test_a_server_of_this_machine_may_do_without_encryption(serving):
    server = serving()

    channel(server).send(ALERT)

    assert len(server.messages) == 1
    assert not [word for word in server.said if word.startswith("AUTH")]


def test_a_server_elsewhere_may_not(serving, monkeypatch):
    from loopline.monitoring.channels import email as module

    server = serving()
    monkeypatch.setattr(module, "_is_loopback", lambda _host: False)

    with pytest.raises(ChannelError, match="offers no encryption"):
        channel(server, password="pw").send(ALERT)
    assert server.messages == []


def test_a_refusal_repeats_nothing_of_what_the_server_said(serving):
    server = serving()
    server.refuses = "MAIL"

    with pytest.raises(ChannelError) as refused:
        channel(server).send(ALERT)

    assert str(refused.value) == ("The alert was not taken by 127.0.0.1: SMTPSenderRefused 550.")


def test_a_server_that_is_not_there_is_named():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with pytest.raises(ChannelError, match=r"127\.0\.0\.1: ConnectionRefusedError"):
        Email(f"smtp://127.0.0.1:{port}", "a@b.example", ("c@d.example",)).send(ALERT)


@pytest.mark.parametrize(
    ("url", "sender", "to", "why"),
    [
        ("http://a", "a@b.example", ("c@d.example",), "LOOPLINE_SMTP must be smtps"),
        ("smtp://me:pw@a", "a@b.example", ("c@d.example",), "LOOPLINE_SMTP_PASSWORD"),
        ("smtp://a:x", "a@b.example", ("c@d.example",), "not a URL"),
        ("smtp://a", "nobody", ("c@d.example",), "LOOPLINE_MAIL_FROM has 'nobody'"),
        ("smtp://a", "a@b.example", ("c@d.example\nBcc: e@f.example",), "LOOPLINE_MAIL_TO has"),
        ("smtp://a", "a@b.example", (), "names nobody"),
    ],
)
def test_settings_that_are_none_are_refused_at_once(url, sender, to, why):
    with pytest.raises(SettingError, match=why) as refused:
        Email(url, sender, to)
    assert ":pw@" not in str(refused.value)


def test_tried_again_it_goes_only_to_who_does_not_have_it_yet(serving):
    server = serving()
    server.refuses = "RCPT TO:<BO@"
    mail = channel(server)

    with pytest.raises(ChannelError, match="took the alert for 1 of 2 recipients"):
        mail.send(ALERT)
    server.refuses, server.said = "", []
    mail.send(ALERT)

    assert len(server.messages) == 2
    recipients = [word for word in server.said if word.upper().startswith("RCPT")]
    assert [word.split("<")[1].split(">")[0] for word in recipients] == ["bo@c.example"]
