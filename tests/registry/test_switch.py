"""Documents and ledger part nowhere for good, whoever dies between them."""

from typing import Any

import pytest

from loopline.errors import BundleRefusedError
from loopline.registry import proof, release
from loopline.registry.shares import placed
from loopline.registry.switch import Draft, settle, switch
from loopline.registry.versions import Registry


class KilledError(BaseException):
    """The process ends here."""


def numbers(registry: Registry) -> tuple[list[int], list[int]]:
    """Return the releases that there are as documents, and in the ledger."""
    documents = sorted(release.numbers(registry.objects, "churn", "dev"))
    events = registry.state().releases.get("dev", [])
    return documents, [one.number for one in events]


def draft(registry: Registry, number: int) -> Any:
    return lambda state, _: Draft(placed((), state.version(number)), "ada", "test")


def test_a_switch_writes_the_document_and_its_event(registry, versions, now) -> None:
    written = switch(registry, "dev", draft(registry, 2), now)

    assert numbers(registry) == ([1], [1])
    assert written.serves[0].version == 2
    assert release.latest(registry.objects, registry.keys, "churn", "dev") == written
    assert registry.serving("dev").number == 2


def test_what_holds_already_writes_nothing(registry, versions, now) -> None:
    first = switch(registry, "dev", draft(registry, 1), now)

    again = switch(registry, "dev", lambda state, _: state.releases["dev"][-1], now)

    assert again == first
    assert numbers(registry) == ([1], [1])


def test_a_document_without_its_event_gets_it_from_whoever_comes_next(
    registry, versions, now, monkeypatch, reopen
) -> None:
    def die(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("loopline.registry.switch._record", die)
        with pytest.raises(KilledError):
            switch(registry, "dev", draft(registry, 1), now)
    assert numbers(registry) == ([1], [])

    second = switch(reopen(), "dev", draft(registry, 2), now)

    assert numbers(registry) == ([1, 2], [1, 2])
    assert second.number == 2
    proof.verify(registry)


def test_a_document_that_was_lost_is_written_again_as_it_was(registry, versions, now) -> None:
    for number in (1, 2, 3):
        switch(registry, "dev", draft(registry, number), now)
    keys = sorted(registry.objects.list("releases/churn/dev"))
    kept = [registry.objects.find(key) for key in keys]
    registry.objects.delete(keys[1])

    recorded = settle(registry)

    assert recorded == []  # the ledger knew of it
    assert [registry.objects.find(key) for key in keys] == kept
    proof.verify(registry)


def test_a_stranger_s_document_is_passed_over_and_its_number_not_taken_again(
    registry, versions, now
) -> None:
    switch(registry, "dev", draft(registry, 1), now)
    [key] = registry.objects.list("releases/churn/dev")
    registry.objects.create(key.replace("1.json", "2.json"), b'{"number": 2}')

    assert settle(registry, "dev") == []
    written = switch(registry, "dev", draft(registry, 2), now)

    assert written.number == 3
    assert numbers(registry) == ([1, 2, 3], [1, 3])


def test_a_damaged_bundle_is_not_released(registry, versions, now) -> None:
    registry.objects.put(f"{versions[0].bundle}/card.md", b"changed")

    with pytest.raises(BundleRefusedError, match=r"card\.md is not what was signed"):
        switch(registry, "dev", draft(registry, 1), now)

    assert numbers(registry) == ([], [])


def test_a_refused_decision_leaves_no_trace(registry, versions, now) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("no")

    before = registry.ledger.events()
    with pytest.raises(ValueError, match="no"):
        switch(registry, "dev", refuse, now)

    assert registry.ledger.events() == before
    assert numbers(registry) == ([], [])
