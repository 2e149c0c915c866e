"""What in a database's URL is secret: refused in the contract, and left out of every message.

The URL goes into the snapshot's record, the ledger, the model card and messages, so a secret in it
is written `${NAME}` and comes from the environment.
"""

import re

_NAMES = (
    "passw(?:or)?d|passphrase|pwd|secret|token|(?:api|access|account|private)_?key|odbc_connect"
)
# A password may hold any sign but a line's end, and what follows it is the last @.
_PASSWORD = re.compile(r"(://[^:/]*:)(?!\$\{\w+\}@)\S*@")
_PARAMETER = re.compile(
    rf"([?&][^=&]*(?:{_NAMES})[^=&]*=)(?!\$\{{\w+\}}(?:&|$))[^&]+", re.IGNORECASE
)


def without_secrets(url: str) -> str:
    """Return `url` with `***` for passwords and tokens; `${NAME}` stays."""
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1***@", url))


def has_secret(url: str) -> bool:
    """Return whether a password or a token stands in `url` itself."""
    return without_secrets(url) != url
