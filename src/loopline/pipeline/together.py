"""What training rows are like by several columns together, kept where the contract watches it.

The counts of pairs, and a bounded sample of rows for the classifier that tells windows from them.
A bundle is never changed, so the sample holds nothing personal: no text, no key, no column that the
contract calls personal, and categories as numbers.
"""

from loopline.contract.schema import Contract
from loopline.counts import pairs
from loopline.counts.kernel import Profile
from loopline.data import multivariate
from loopline.model.signature import Signature
from loopline.training.material import Material


def together(material: Material, signature: Signature, profile: Profile) -> dict[str, bytes]:
    """Return the files of a bundle that hold it; none where the contract asks for nothing."""
    train, found = material.rows(material.training), {}
    for first, second in material.contract.monitor.pairs:
        one, other = train[first], train[second]
        grids = (pairs.grid_for(one), pairs.grid_for(other))
        found[first, second] = pairs.count_pairs(one, other, grids)
    files = {"pairs.bin": pairs.encode(found)} if found else {}
    names = _unnamed(material.contract, signature)
    if "multivariate" in material.contract.monitor.drift and names:
        files["sample.bin"] = multivariate.drawn(names, train, profile).to_bytes()
    return files


def _unnamed(contract: Contract, signature: Signature) -> list[str]:
    """Return the inputs of which a version may keep rows: nothing personal, no key and no text."""
    columns = contract.data.columns
    return [
        each.name
        for each in signature.inputs
        if each.logged
        and each.type not in ("text", "time")
        and each.name not in (signature.key, signature.time)
        and (each.name not in columns or columns[each.name].personal is None)
    ]
