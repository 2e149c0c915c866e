"""Posts to one URL, and nowhere else.

The address is checked when the connection is made, and the very address that was checked is
connected to: a name that resolves to something else a moment later gains nothing. Redirects are
not followed, proxies are not asked, and of the answer only the status is read. The URL comes from
the environment and may hold a secret, so no message repeats more of it than its host.
"""

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from loopline.errors import ChannelError, SettingError

_NOWHERE = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "3fff::/20")))
"""Not global, though Pythons before 3.12.4 take them to be (CVE-2024-4032)."""
_NAT64 = IPv6Network("64:ff9b::/96")
_METADATA = {ip_address(text) for text in ("fd00:ec2::254", "fd20:ce::254", "168.63.129.16")}
"""Where clouds answer their own machines, outside of the link-local addresses."""


_PRIVATE = "Plain http, loopback and private addresses need LOOPLINE_WEBHOOK_PRIVATE=1."


class Poster:
    """Posts JSON to one URL.

    Args:
        url: https, or http as well where `private` is true.
        setting: the setting that it comes from, which messages name.
        private: whether loopback and private addresses may be connected to.
        timeout_seconds: for the whole delivery.
        resolve: finds a name's addresses, as `socket.getaddrinfo` does.

    Raises:
        SettingError: the URL is none that may be posted to.
    """

    def __init__(
        self,
        url: str,
        setting: str,
        *,
        private: bool = False,
        timeout_seconds: float = 5.0,
        resolve: Callable[..., list[Any]] = socket.getaddrinfo,
    ) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise SettingError(f"{setting} is not a URL.") from error
        schemes = ("https", "http") if private else ("https",)
        if parts.scheme not in schemes or not parts.hostname or parts.username is not None:
            raise SettingError(
                f"{setting} must be {' or '.join(schemes)}://HOST/..., without a user name."
                + ("" if private else f" {_PRIVATE}")
            )
        if not url.isascii() or not url.isprintable() or " " in url:
            raise SettingError(f"{setting} has characters that no URL has. Encode them.")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = port or (443 if self._secure else 80)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._private = private
        self._timeout = timeout_seconds
        self._resolve = resolve

    def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Post `body`; any 2xx is success.

        Raises:
            ChannelError: it did not arrive, or was refused.
        """
        try:
            status = self._post(body, headers or {})
        except (OSError, http.client.HTTPException) as error:
            raise ChannelError(
                f"The alert did not reach {self._host}: {type(error).__name__}."
            ) from error
        if not 200 <= status < 300:
            note = " Redirects are not followed." if 300 <= status < 400 else ""
            raise ChannelError(f"{self._host} answered the alert with status {status}.{note}")

    def _post(self, body: bytes, headers: Mapping[str, str]) -> int:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port)
        connection.sock = self._connect()
        # A server that sends one byte now and then would outlast every timeout of the socket's.
        deadline = threading.Timer(self._timeout, _hang_up, [connection.sock])
        deadline.start()
        try:
            if isinstance(connection.sock, ssl.SSLSocket):
                connection.sock.do_handshake()
            connection.request(
                "POST",
                self._target,
                body,
                {"Content-Type": "application/json", "Connection": "close", **headers},
            )
            return connection.getresponse().status
        finally:
            deadline.cancel()
            connection.close()

    def _connect(self) -> socket.socket:
        found = self._resolve(self._host, self._port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
        for address in addresses:
            if not _may_connect(ip_address(address.partition("%")[0]), self._private):
                raise ChannelError(
                    f"{self._host} leads to {address}, where alerts may not go: only public "
                    "addresses, and with LOOPLINE_WEBHOOK_PRIVATE=1 loopback and private ones."
                )
        connected = _first_that_answers(addresses, self._port, self._timeout)
        if not self._secure:
            return connected
        return ssl.create_default_context().wrap_socket(
            connected, server_hostname=self._host, do_handshake_on_connect=False
        )


def _first_that_answers(addresses: list[str], port: int, timeout_seconds: float) -> socket.socket:
    failed: OSError | None = None
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout_seconds)
        except OSError as error:
            failed = error
    raise failed or OSError("the name has no address")


def _may_connect(address: IPv4Address | IPv6Address, private: bool) -> bool:
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _may_connect(inner, private)
        # Other ways to write an IPv4 address, and blocks that lead somewhere local or nowhere.
        is_odd = address.teredo is not None or address.is_site_local or address.is_reserved
        if is_odd and not address.is_loopback:
            return False
    # Link-local addresses hold the clouds' metadata services, with their credentials.
    is_inner = address.is_link_local or address in _METADATA
    is_inner = is_inner or any(address in block for block in _NOWHERE)
    if is_inner or address.is_multicast or address.is_unspecified:
        return False
    return address.is_global or (private and (address.is_private or address.is_loopback))


def _hang_up(connected: socket.socket) -> None:
    try:
        socket.socket.shutdown(connected, socket.SHUT_RDWR)
    except OSError:
        return  # it is over already
