"""Prove that the ledger and the release documents are whole, and say the same.

They vouch for each other: the ledger has every release, and every release carries, under its
signature, the hash that the ledger had reached. Cutting off or rewriting the ledger up to a release
is noticed even by someone who has nothing but the store and a public key.
"""

from loopline.errors import ReleaseError
from loopline.registry import release
from loopline.registry.versions import Registry


def verify(registry: Registry) -> tuple[int, int]:
    """Return how many events and how many release documents were proven.

    Raises:
        BrokenLedgerError: the chain does not hold, or lacks what a signed release saw.
        ReleaseError: a document is not signed, or not the one in the ledger.
    """
    objects, project = registry.objects, registry.project
    documents = [
        release.read(objects, registry.keys, project, environment, number)
        for environment in release.environments(objects, project)
        for number in release.numbers(objects, project, environment)
    ]
    seen = [document.ledger.partition(":") for document in documents if document.ledger]
    checked = registry.ledger.verify([(int(number), digest) for number, _, digest in seen])
    recorded = [one for history in registry.state().releases.values() for one in history]
    for one in sorted([*documents, *recorded], key=lambda one: (one.environment, one.number)):
        name = f"Release {one.number} of {one.environment}"
        if one not in recorded:
            raise ReleaseError(
                f"{name} is in the store, but not in the ledger: a promotion was cut short, or the "
                "ledger is an older copy. The next promotion or rollback there records it."
            )
        if one not in documents:
            raise ReleaseError(f"{name} is in the ledger, but its document is not in the store.")
    return checked, len(documents)
