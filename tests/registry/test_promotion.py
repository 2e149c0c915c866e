"""Promote, approve, roll back, retire: what is refused, and what a killed process leaves."""

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.registry.conftest import NOW, make_contract, open_registry, register

from loopline.errors import (
    BrokenLedgerError,
    BundleRefusedError,
    GateFailedError,
    MoveRefusedError,
    ReleaseError,
    UnknownVersionError,
)
from loopline.registry import proof, release
from loopline.registry.promotion import (
    approve,
    promote,
    release_to_dev,
    retire,
    rollback,
)
from loopline.registry.release import Part, Release
from loopline.registry.switch import settle
from loopline.registry.versions import Registry, Request
from loopline.store.database import events


def served(registry: Registry, environment: str = "production") -> int | None:
    """What servers see: the version in the signed document."""
    found = release.latest(registry.objects, registry.keys, registry.project, environment)
    return None if found is None else found.version


def history(registry: Registry, environment: str = "production") -> list[int]:
    return [one.version for one in registry.state().releases.get(environment, [])]


class TestPromote:
    def test_a_version_is_served_and_the_ledger_says_who_and_why(
        self, registry, versions, open_contract
    ):
        released = promote(
            registry, 1, "production", by="bob", why="cheaper", now=NOW, contract=open_contract
        )

        assert served(registry) == 1
        event = registry.ledger.events(("release.written",))[0]
        assert (event.actor, event.subject) == ("bob", "production")
        assert event.payload["why"] == "cheaper"
        assert isinstance(released, Release)
        assert released.serves[0].bundle_digest == versions[0].bundle_digest
        assert proof.verify(registry) == (5, 1)

    def test_a_strangers_document_on_top_is_replaced_though_the_version_served_already(
        self, registry, versions, open_contract
    ):
        promote(registry, 1, "production", by="ada", now=NOW, contract=open_contract)
        stranger = "releases/churn/production/2.json"
        registry.objects.put(stranger, b'{"release":{"number":2},"signature":"none"}')
        with pytest.raises(ReleaseError):
            served(registry)

        released = promote(registry, 1, "production", by="ada", now=NOW, contract=open_contract)

        assert (released.number, served(registry)) == (3, 1)

    def test_a_failed_gate_keeps_the_version_where_it_was(self, registry, open_contract):
        register(registry, reasons=("recall for region=north is 0.71, needed 0.8",))
        release_to_dev(registry, 1, by="ada", why="", now=NOW)

        for environment in ("staging", "production"):
            with pytest.raises(GateFailedError, match=r"- recall for region=north is 0\.71"):
                promote(registry, 1, environment, by="ada", now=NOW, contract=open_contract)

        assert registry.get(1).stage == "dev"
        assert served(registry) is None

    def test_an_environment_the_contract_does_not_have_is_refused(
        self, registry, versions, contract
    ):
        with pytest.raises(MoveRefusedError, match=r"no such environment\. It has: dev, staging"):
            promote(registry, 1, "prod", by="ada", now=NOW, contract=contract)
        with pytest.raises(UnknownVersionError):
            promote(registry, 9, "staging", by="ada", now=NOW, contract=contract)

        assert registry.ledger.events(("release.written",)) == []

    def test_promoting_what_serves_already_changes_nothing(self, registry, versions, open_contract):
        first = promote(registry, 1, "staging", by="ada", now=NOW, contract=open_contract)
        events = registry.ledger.events()

        again = promote(registry, 1, "staging", by="bob", now=NOW, contract=open_contract)

        assert again == first
        assert registry.ledger.events() == events

    @pytest.mark.parametrize("file", ["card.md", "manifest.json", "manifest.sig"])
    def test_a_version_with_one_changed_byte_is_never_released(
        self, registry, versions, open_contract, file
    ):
        key = f"{versions[0].bundle}/{file}"
        content = bytearray(registry.objects.get(key))
        content[-3] ^= 1
        registry.objects.put(key, bytes(content))

        with pytest.raises(BundleRefusedError, match=r"The bundle bundles/churn/1 is refused"):
            promote(registry, 1, "staging", by="ada", now=NOW, contract=open_contract)

        assert served(registry, "staging") is None
        assert registry.ledger.events(("release.written",)) == []

    def test_dev_takes_a_version_whose_gate_failed(self, registry):
        register(registry, reasons=("too expensive",))

        released = release_to_dev(registry, "latest", by="ada", why="run", now=NOW)

        assert served(registry, "dev") == 1
        assert release_to_dev(registry, 1, by="ada", why="again", now=NOW) == released


class TestApprove:
    @pytest.fixture
    def asked(self, registry, versions, contract):
        """bob asks to have ada's churn:1 in production."""
        request = promote(
            registry, 1, "production", by="bob", why="cheaper", now=NOW, contract=contract
        )
        assert isinstance(request, Request)
        return request

    def test_a_promotion_waits_until_another_person_approves(self, registry, contract, asked):
        assert served(registry) is None
        assert registry.get(1).stage == "none"

        released = approve(registry, 1, by="carol", now=NOW, contract=contract)

        assert served(registry) == 1
        assert released.by == "carol"
        assert released.why == "cheaper (asked for by bob, approved by carol)"
        kinds = [event.kind for event in registry.ledger.events()][-3:]
        assert kinds == ["promotion.requested", "promotion.approved", "release.written"]

    @pytest.mark.parametrize(
        ("person", "role"),
        [("bob", "asked for this"), ("BOB", "asked for this"), ("ada", "made it")],
    )
    def test_neither_who_asked_nor_who_made_it_can_approve(
        self, registry, contract, asked, person, role
    ):
        with pytest.raises(MoveRefusedError, match=f"{person} cannot approve churn:1 .*{role}"):
            approve(registry, 1, by=person, now=NOW, contract=contract)

        assert served(registry) is None
        assert registry.ledger.events(("promotion.approved",)) == []

    def test_asking_again_is_no_approval_and_no_second_request(self, registry, contract, asked):
        again = promote(registry, 1, "production", by="carol", now=NOW, contract=contract)

        assert again == asked
        assert len(registry.ledger.events(("promotion.requested",))) == 1

    def test_two_approvals_need_two_people(self, registry, versions):
        contract = make_contract(approvals=2)
        promote(registry, 1, "production", by="bob", now=NOW, contract=contract)

        for _ in range(2):
            waiting = approve(registry, 1, by="carol", now=NOW, contract=contract)
            assert isinstance(waiting, Request)
            assert waiting.approved_by == ("carol",)
        approve(registry, 1, by="dan", now=NOW, contract=contract)

        assert served(registry) == 1

    def test_what_nobody_asked_for_cannot_be_approved(self, registry, versions, contract):
        with pytest.raises(MoveRefusedError, match="churn:2 waits for no approval"):
            approve(registry, 2, by="carol", now=NOW, contract=contract)

    def test_a_release_in_between_makes_the_request_void(
        self, registry, contract, open_contract, asked
    ):
        promote(registry, 2, "production", by="dan", now=NOW, contract=open_contract)

        with pytest.raises(MoveRefusedError, match="churn:1 waits for no approval"):
            approve(registry, 1, by="carol", now=NOW, contract=contract)

        assert served(registry) == 2


class TestRollback:
    @pytest.fixture
    def third(self, registry, versions, open_contract):
        """Production served 1, then 2, and serves 3."""
        for number in (1, 2, 3):
            promote(registry, number, "production", by="ada", now=NOW, contract=open_contract)
        return registry

    def test_the_version_before_serves_again_and_the_reason_is_kept(self, third):
        released = rollback(third, "production", by="watcher", why="error_rate is 4 %", now=NOW)

        assert served(third) == 2
        assert released.rolled_back == 3
        assert third.ledger.events(("release.written",))[-1].payload["why"] == "error_rate is 4 %"
        assert third.get(3).stage == "none"

    def test_repeated_rollbacks_go_further_back_and_never_forth(self, third):
        rollback(third, "production", by="ada", why="bad", now=NOW)
        rollback(third, "production", by="ada", why="also bad", now=NOW)

        with pytest.raises(MoveRefusedError, match="no earlier version to go back to from churn:1"):
            rollback(third, "production", by="ada", why="hm", now=NOW)

        assert history(third) == [1, 2, 3, 2, 1]
        assert served(third) == 1

    def test_a_version_promoted_after_a_rollback_is_rolled_back_to_the_good_one(
        self, third, open_contract
    ):
        rollback(third, "production", by="ada", why="bad", now=NOW)
        fourth = register(third)
        promote(third, fourth.number, "production", by="ada", now=NOW, contract=open_contract)

        rollback(third, "production", by="ada", why="bad too", now=NOW)

        assert history(third) == [1, 2, 3, 2, 4, 2]

    def test_a_version_that_was_rolled_back_returns_only_with_a_reason(self, third, open_contract):
        rollback(third, "production", by="ada", why="error_rate is 4 %", now=NOW)

        with pytest.raises(MoveRefusedError, match=r"churn:3 was rolled back .*error_rate is 4 %"):
            promote(third, 3, "production", by="ada", now=NOW, contract=open_contract)
        promote(
            third, 3, "production", by="ada", why="a proxy failed", now=NOW, contract=open_contract
        )

        assert served(third) == 3
        assert third.state().rolled_back("production") == {}

    def test_a_retired_version_is_passed_over(self, third):
        retire(third, 2, by="ada", why="old", now=NOW)

        rollback(third, "production", by="ada", why="bad", now=NOW)

        assert served(third) == 1

    def test_two_observers_of_one_fault_roll_back_once(self, third):
        first = rollback(third, "production", by="watcher-1", why="drift", now=NOW, bad=3)
        second = rollback(third, "production", by="watcher-2", why="drift", now=NOW, bad=3)

        assert second == first
        assert history(third) == [1, 2, 3, 2]
        with pytest.raises(MoveRefusedError, match="no longer serves churn:1, but churn:2"):
            rollback(third, "production", by="watcher-1", why="late", now=NOW, bad=1)

    def test_nothing_served_or_no_reason_is_refused(self, registry, third):
        with pytest.raises(MoveRefusedError, match="staging serves nothing"):
            rollback(registry, "staging", by="ada", why="bad", now=NOW)
        with pytest.raises(MoveRefusedError, match="needs a reason"):
            rollback(registry, "production", by="ada", why="", now=NOW)


class TestRetire:
    def test_what_serves_cannot_be_retired(self, registry, versions, open_contract):
        for environment in ("staging", "production"):
            promote(registry, 1, environment, by="ada", now=NOW, contract=open_contract)

        with pytest.raises(MoveRefusedError, match="churn:1 serves staging, production"):
            retire(registry, 1, by="ada", why="old", now=NOW)

        assert registry.get(1).stage == "production"

    def test_a_retired_version_stays_on_record_and_serves_nowhere_again(
        self, registry, versions, open_contract
    ):
        retired = retire(registry, 1, by="ada", why="old", now=NOW)

        assert retired.stage == "retired"
        assert retire(registry, 1, by="ada", why="again", now=NOW) == retired
        assert len(registry.ledger.events(("version.retired",))) == 1
        with pytest.raises(MoveRefusedError, match="churn:1 is retired"):
            promote(registry, 1, "production", by="ada", now=NOW, contract=open_contract)
        with pytest.raises(MoveRefusedError, match="churn:1 is retired"):
            release_to_dev(registry, 1, by="ada", why="", now=NOW)

    def test_retiring_ends_a_request(self, registry, versions, contract):
        promote(registry, 1, "production", by="bob", now=NOW, contract=contract)
        retire(registry, 1, by="ada", why="old", now=NOW)

        with pytest.raises(MoveRefusedError, match="waits for no approval"):
            approve(registry, 1, by="carol", now=NOW, contract=contract)


class KilledError(BaseException):
    """The process ended here; nothing may catch it."""


def kill_at(registry: Registry, step: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """End the process before or after the `step`th write to store or ledger; log the steps."""
    steps: list[str] = []

    def guard(name: str, write: Callable) -> Callable:
        def guarded(*args, **kwargs):
            for moment in ("before", "after"):
                outcome = write(*args, **kwargs) if moment == "after" else None
                steps.append(f"{moment} {name}")
                if len(steps) == step:
                    raise KilledError
            return outcome

        return guarded

    monkeypatch.setattr(registry.objects, "create", guard("create", registry.objects.create))
    monkeypatch.setattr(registry.ledger, "append", guard("append", registry.ledger.append))
    return steps


ACTIONS = {
    "promote": lambda registry: promote(
        registry, 3, "production", by="ada", now=NOW, contract=make_contract(approvals=0)
    ),
    "ask": lambda registry: promote(
        registry, 3, "production", by="bob", now=NOW, contract=make_contract(approvals=1)
    ),
    "approve": lambda registry: approve(
        registry, 2, by="carol", now=NOW, contract=make_contract(approvals=1)
    ),
    "rollback": lambda registry: rollback(registry, "staging", by="ada", why="bad", now=NOW),
    "retire": lambda registry: retire(registry, 3, by="ada", why="old", now=NOW),
}


class TestKilled:
    """A process that dies anywhere leaves the old or the new, and a second call completes."""

    @pytest.fixture(scope="module")
    @staticmethod
    def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Staging served 1 and serves 2; production serves 1, and 2 waits for approval there."""
        home = tmp_path_factory.mktemp("prepared")
        registry = open_registry(home)
        for _ in range(3):
            register(registry)
        anyone, careful = make_contract(approvals=0), make_contract(approvals=1)
        for number in (1, 2):
            promote(registry, number, "staging", by="ada", now=NOW, contract=anyone)
        promote(registry, 1, "production", by="ada", now=NOW, contract=anyone)
        promote(registry, 2, "production", by="bob", now=NOW, contract=careful)
        registry.ledger.database.close()
        return home

    @pytest.mark.parametrize("action", list(ACTIONS))
    def test_at_any_step_the_second_call_ends_where_the_first_would_have(
        self, prepared, tmp_path, monkeypatch, action
    ):
        act = ACTIONS[action]
        whole = open_registry(Path(shutil.copytree(prepared, tmp_path / "whole")))
        expected = act(whole)
        environment = getattr(expected, "environment", "production")

        for step in range(1, 20):
            home = Path(shutil.copytree(prepared, tmp_path / str(step)))
            killed = open_registry(home)
            before = served(killed, environment)
            with monkeypatch.context() as patch:
                steps = kill_at(killed, step, patch)
                try:
                    act(killed)
                except KilledError:
                    pass
                else:
                    assert len(steps) == step - 1 >= 2
                    return
            left = open_registry(home)
            left.ledger.verify()
            assert served(left, environment) in (before, served(whole, environment))

            act(left)

            for place in ("staging", "production"):
                assert history(left, place) == history(whole, place), steps
                assert served(left, place) == served(whole, place)
            kinds = sorted(event.kind for event in left.ledger.events())
            assert kinds == sorted(event.kind for event in whole.ledger.events()), steps
            assert proof.verify(left) == proof.verify(whole)
        pytest.fail("the action never ran to its end")

    def test_kill_minus_9_between_document_and_event_is_repaired_by_the_next_call(
        self, prepared, tmp_path
    ):
        home = Path(shutil.copytree(prepared, tmp_path / "home"))
        script = """
import os, signal, sys
from pathlib import Path
from tests.registry.conftest import NOW, make_contract, open_registry
from loopline.registry.promotion import promote
registry = open_registry(Path(sys.argv[1]))
create = registry.objects.create
def create_and_die(key, data):
    create(key, data)
    os.kill(os.getpid(), signal.SIGKILL)
registry.objects.create = create_and_die
promote(registry, 3, "production", by="ada", now=NOW, contract=make_contract(approvals=0))
"""
        command = [sys.executable, "-c", script, str(home)]
        died = subprocess.run(command, check=False, cwd=Path(__file__).parents[2])
        assert died.returncode == -signal.SIGKILL

        registry = open_registry(home)
        assert served(registry) == 3
        assert history(registry) == [1]
        with pytest.raises(ReleaseError, match="in the store, but not in the ledger"):
            proof.verify(registry)
        rollback(registry, "production", by="bob", why="bad", now=NOW)

        assert history(registry) == [1, 3, 1]
        assert registry.ledger.events(("release.written",))[-2].actor == "ada"
        proof.verify(registry)


class TestAtOnce:
    def test_two_promotions_both_happen_one_after_the_other(self, tmp_path):
        registry = open_registry(tmp_path)
        for _ in range(8):
            register(registry)
        contract, start = make_contract(approvals=0), threading.Barrier(8)

        def work(number: int) -> None:
            own = open_registry(tmp_path)
            start.wait(10)
            promote(own, number, "production", by=f"ada-{number}", now=NOW, contract=contract)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(history(registry)) == list(range(1, 9))
        assert served(registry) == history(registry)[-1]
        assert proof.verify(registry)[1] == 8

    def test_two_rollbacks_of_the_same_version_are_one(self, tmp_path):
        registry = open_registry(tmp_path)
        contract, start = make_contract(approvals=0), threading.Barrier(4)
        for number in (1, 2, 3):
            register(registry)
            promote(registry, number, "production", by="ada", now=NOW, contract=contract)

        def work() -> None:
            own = open_registry(tmp_path)
            start.wait(10)
            rollback(own, "production", by="watcher", why="bad", now=NOW, bad=3)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert history(registry) == [1, 2, 3, 2]


class TestSettle:
    def test_a_lost_document_is_written_again_from_the_ledger(
        self, registry, versions, open_contract
    ):
        for number in (1, 2):
            promote(registry, number, "production", by="ada", now=NOW, contract=open_contract)
        registry.objects.delete("releases/churn/production/2.json")
        assert served(registry) == 1

        assert settle(registry, "production") == []

        assert served(registry) == 2
        proof.verify(registry)

    def test_a_forged_document_never_enters_the_ledger_and_the_next_release_heals(
        self, registry, versions, open_contract
    ):
        promote(registry, 1, "production", by="ada", now=NOW, contract=open_contract)
        registry.objects.put("releases/churn/production/2.json", b'{"release":{"number":2}}')
        with pytest.raises(ReleaseError):
            served(registry)

        promote(registry, 2, "production", by="ada", now=NOW, contract=open_contract)

        assert served(registry) == 2
        assert history(registry) == [1, 2]
        assert release.numbers(registry.objects, "churn", "production") == [1, 2, 3]


class TestShares:
    def test_a_canary_answers_beside_the_other_and_is_what_a_rollback_takes_out(
        self, registry, versions, open_contract
    ):
        to = {"by": "ada", "now": NOW, "contract": open_contract}
        promote(registry, 1, "production", **to)

        promote(registry, 2, "production", **to, part=Part(0.05))
        wider = promote(registry, 2, "production", **to, part=Part(0.5, arm="bold"))
        again = promote(registry, 2, "production", **to, part=Part(0.5, arm="bold"))

        assert [(one.version, one.share) for one in wider.serves] == [(1, 0.5), (2, 0.5)]
        assert again == wider
        assert registry.get(1).stage == registry.get(2).stage == "production"
        back = rollback(registry, "production", by="ada", why="worse", now=NOW)
        assert [(one.version, one.share) for one in back.serves] == [(1, 1.0)]
        assert back.rolled_back == 2
        with pytest.raises(MoveRefusedError, match="was rolled back from production: worse"):
            promote(registry, 2, "production", **to, part=Part(0.05))
        assert proof.verify(registry)[1] == 4

    def test_a_rule_may_take_out_the_older_and_the_canary_stays(
        self, registry, versions, open_contract
    ):
        to = {"by": "ada", "now": NOW, "contract": open_contract}
        promote(registry, 1, "production", **to)
        promote(registry, 2, "production", **to, part=Part(0.05))

        first = rollback(registry, "production", by="loopline", why="errors", now=NOW, bad=1)
        second = rollback(registry, "production", by="loopline", why="errors", now=NOW, bad=1)

        assert [one.version for one in first.serves] == [2]
        assert first == second

    def test_a_shadow_needs_no_approval_and_is_in_no_stage(self, registry, versions):
        contract = make_contract(approvals=1)
        asked = promote(registry, 1, "production", by="bob", now=NOW, contract=contract)
        assert isinstance(asked, Request)
        approve(registry, 1, by="eve", now=NOW, contract=contract)
        shadow = Part(0.0, shadow=True)

        released = promote(
            registry, 2, "production", by="bob", now=NOW, contract=contract, part=shadow
        )

        assert isinstance(released, Release)
        assert [one.shadow for one in released.serves] == [False, True]
        assert registry.get(2).stage == "none"
        with pytest.raises(MoveRefusedError, match="serves production, so it cannot be retired"):
            retire(registry, 2, by="ada", why="", now=NOW)

    def test_what_was_approved_is_the_share_that_was_asked_for(self, registry, versions):
        contract = make_contract(approvals=1)
        to = {"by": "bob", "now": NOW, "contract": contract}
        promote(registry, 1, "production", **to)
        approve(registry, 1, by="eve", now=NOW, contract=contract)
        promote(registry, 2, "production", **to, part=Part(0.1))
        asked = promote(registry, 2, "production", **to, part=Part(0.3))  # thought better of it

        released = approve(registry, 2, by="eve", now=NOW, contract=contract)

        assert asked.part == Part(0.3)
        assert [round(one.share, 9) for one in released.serves] == [0.7, 0.3]


@pytest.mark.parametrize("arm", ["bold\r\nset-cookie: a=b", "größer", "-", "a" * 64])
def test_an_arm_that_is_no_header_is_refused(registry, versions, open_contract, arm):
    with pytest.raises(MoveRefusedError, match="is no arm of a test"):
        promote(
            registry, 1, "staging", by="a", now=NOW, contract=open_contract, part=Part(arm=arm)
        )  # fmt: skip


def _damage(registry: Registry, number: int) -> None:
    registry.objects.put(f"bundles/churn/{number}/card.md", b"damaged")


class TestDamage:
    """What is damaged is passed over on the way back, and is told."""

    @pytest.fixture
    def third(self, registry, versions, open_contract):
        """Production served churn:1, then 2, and now 3."""
        for number in (1, 2, 3):
            promote(registry, number, "production", by="a", now=NOW, contract=open_contract)
        return registry

    def test_the_version_before_the_damaged_one_serves_and_the_release_says_why(self, third):
        _damage(third, 2)

        released = rollback(third, "production", by="bob", why="complaints.", now=NOW)

        assert (served(third), released.rolled_back) == (1, 3)
        assert released.why.startswith(
            "complaints. Passed over churn:2: The bundle bundles/churn/2"
        )
        assert "card.md is not what was signed" in released.why

    def test_where_all_are_damaged_nothing_changes_and_each_is_named(self, third):
        _damage(third, 1)
        _damage(third, 2)

        with pytest.raises(BundleRefusedError, match=r"cannot go back from churn:3.*:2:.*:1:"):
            rollback(third, "production", by="bob", why="complaints", now=NOW)

        assert served(third) == 3

    def test_a_damaged_version_beside_a_bad_canary_is_passed_over_too(
        self, registry, versions, open_contract
    ):
        for number, part in ((1, Part()), (2, Part()), (3, Part(share=0.1))):
            promote(
                registry, number, "production", by="a", now=NOW, contract=open_contract, part=part
            )  # fmt: skip
        _damage(registry, 2)

        released = rollback(registry, "production", by="bob", why="bad", now=NOW, bad=3)

        assert [(one.version, one.share) for one in released.serves] == [(1, 1.0)]

    def test_nobody_is_promoted_by_a_ledger_that_was_changed_but_back_is_possible(
        self, third, open_contract
    ):
        with third.ledger.database.begin() as connection:
            connection.execute(
                events.update().where(events.c.number == 2).values(actor="somebody else")
            )

        with pytest.raises(BrokenLedgerError, match="The content of event 2 was changed"):
            promote(third, 1, "staging", by="a", now=NOW, contract=open_contract)
        rollback(third, "production", by="bob", why="complaints", now=NOW)

        assert (served(third), served(third, "staging")) == (2, None)
