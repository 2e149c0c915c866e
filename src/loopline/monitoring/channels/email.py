"""Alerts as e-mail, over a connection that is encrypted wherever it leaves this machine."""

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from loopline.errors import ChannelError, SettingError
from loopline.monitoring.channels.base import Alert

__all__ = ["Email"]

_PORTS = {"smtp": 587, "smtps": 465}


class Email:
    """Sends alerts through one mail server.

    Args:
        url: `smtps://USER@HOST` (TLS from the start) or `smtp://USER@HOST:587` (STARTTLS, which
            only a server on a loopback address may lack).
        sender: whose name stands on it.
        recipients: who gets it.
        password: of the user; None to send without logging in.
        timeout_seconds: for each answer of the server.

    Raises:
        SettingError: the URL or an address is none.
    """

    name = "email"
    waits = True
    follows = False

    def __init__(
        self,
        url: str,
        sender: str,
        recipients: tuple[str, ...],
        *,
        password: str | None = None,
        timeout_seconds: float = 10.0,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise SettingError("LOOPLINE_SMTP is not a URL.") from error
        if parts.scheme not in _PORTS or not parts.hostname or parts.password is not None:
            raise SettingError(
                "LOOPLINE_SMTP must be smtps://USER@HOST:PORT or smtp://USER@HOST:PORT; the "
                "password goes into LOOPLINE_SMTP_PASSWORD."
            )
        self._host, self._port = parts.hostname, port or _PORTS[parts.scheme]
        self._is_implicit = parts.scheme == "smtps"
        self._user = unquote(parts.username) if parts.username else None
        self._sender = _address(sender, "LOOPLINE_MAIL_FROM")
        self._recipients = tuple(_address(one, "LOOPLINE_MAIL_TO") for one in recipients)
        if not self._recipients:
            raise SettingError("LOOPLINE_MAIL_TO names nobody. Write one address, or several.")
        self._password = password
        self._timeout = timeout_seconds
        self._taken: tuple[str, set[str]] = ("", set())
        """Of the last message: its id, and who has it."""
        self._trusted = trusted or ssl.create_default_context()

    def send(self, alert: Alert) -> None:
        """Send one message to all recipients; tried again, to those who do not have it yet."""
        if self._taken[0] != alert.id:
            self._taken = (alert.id, set())
        left = [one for one in self._recipients if one not in self._taken[1]]
        message = EmailMessage()
        first = " ".join(alert.text.split())
        message["Subject"] = f"[{alert.project}] {first[:120]}"
        message["From"] = self._sender
        message["To"] = ", ".join(self._recipients)
        message["Date"] = formatdate()
        message["Message-ID"] = f"<{alert.id or 'alert'}@{alert.project}.loopline>"
        message["Auto-Submitted"] = "auto-generated"
        lines = [alert.text, "", *(f"- {finding.message}" for finding in alert.findings)]
        message.set_content("\n".join(_printable(line) for line in lines) + "\n")
        try:
            with self._connected() as server:
                if self._user is not None and self._password is not None:
                    server.login(self._user, self._password)
                refused = server.send_message(message, to_addrs=[parseaddr(one)[1] for one in left])
        except (OSError, smtplib.SMTPException) as error:
            code = getattr(error, "smtp_code", None)
            status = f" {code}" if code else ""
            raise ChannelError(
                f"The alert was not taken by {self._host}: {type(error).__name__}{status}."
            ) from error
        if refused:
            self._taken[1].update(one for one in left if parseaddr(one)[1] not in refused)
            raise ChannelError(
                f"{self._host} took the alert for {len(self._taken[1])} of "
                f"{len(self._recipients)} recipients."
            )

    def _connected(self) -> smtplib.SMTP:
        if self._is_implicit:
            return smtplib.SMTP_SSL(
                self._host, self._port, timeout=self._timeout, context=self._trusted
            )
        server = smtplib.SMTP(self._host, self._port, timeout=self._timeout)
        try:
            server.ehlo()
            if server.has_extn("starttls"):
                server.starttls(context=self._trusted)
                server.ehlo()
            elif not _is_loopback(self._host):
                raise ChannelError(
                    f"{self._host} offers no encryption, so it was told nothing. Use smtps://, or "
                    "a server with STARTTLS."
                )
        except BaseException:
            server.close()
            raise
        return server


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(text: str, setting: str) -> str:
    name, address = parseaddr(text)
    if "@" not in address or not (name + address).isprintable() or "\n" in text or "\r" in text:
        raise SettingError(f"{setting} has {text!r:.60}, which is no address such as a@b.example.")
    return text.strip()


def _printable(text: str) -> str:
    """Return `text` with its lines as they are, and no other control character."""
    return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)
