"""What one row of counts holds, as bytes, and the sum of many rows.

Plain numbers by name are JSON; the cells of a column are eight things in MessagePack, those of a
pair three: the first byte tells which. Equal counts are equal bytes.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from loopline.counts import pairs
from loopline.counts.groups import total_stored
from loopline.counts.pairs import PairCounts

if TYPE_CHECKING:
    from loopline.monitoring.hours import Counts

_JSON, _THREE = b"{", b"\x93"


def encode(counted: "Counts") -> bytes:
    """Return counts as a row holds them."""
    if isinstance(counted, Counter):
        return msgspec.json.encode(dict(sorted(counted.items())))
    return counted.to_bytes()


def total(payloads: Sequence[bytes]) -> "Counts":
    """Return the sum of one or more rows of one column and slice."""
    if payloads[0].startswith(_THREE):
        return pairs.total([PairCounts.from_bytes(payload) for payload in payloads])
    if not payloads[0].startswith(_JSON):
        return total_stored(payloads)
    numbers: Counter[str] = Counter()
    for payload in payloads:
        numbers.update(msgspec.json.decode(payload, type=dict[str, int]))
    return numbers
