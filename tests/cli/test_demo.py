"""`loopline demo`: what it refuses, and the whole story once."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from loopline.cli.main import cli
from loopline.demo.story import MARK
from loopline.errors import LooplineError
from loopline.pipeline.workspace import Workspace


def demo(*arguments: str) -> str:
    done = CliRunner().invoke(
        cli, ["demo", *arguments], standalone_mode=False, catch_exceptions=False
    )
    return done.output


def test_a_folder_with_something_in_it_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")

    for options in ([], ["--replace"]):
        with pytest.raises(
            LooplineError, match=r"is no demo, so it is left as it is\. Name another"
        ):
            demo("--dir", str(tmp_path), *options)

    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_earlier_demo_is_kept_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    (tmp_path / MARK).touch()

    with pytest.raises(LooplineError, match=rf"holds a demo already.*--replace --dir {tmp_path}"):
        demo("--dir", str(tmp_path))

    assert (tmp_path / MARK).is_file()


def test_a_file_in_the_place_of_the_folder_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")

    with pytest.raises(LooplineError, match="is there already, and is no demo"):
        demo("--dir", str(tmp_path / "taken"))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, flights: object) -> tuple[Path, str]:
    """The project that a demo leaves, and what it said."""
    folder = tmp_path_factory.mktemp("demo") / "flights"
    done = subprocess.run(
        [sys.executable, "-m", "loopline", "demo", "--dir", str(folder)],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder, done.stdout


@pytest.mark.slow
class TestStory:
    """What the demo promises, in what it said and in what it left."""

    def test_it_shows_nine_months_with_their_figures(self, told: tuple[Path, str]) -> None:
        table = told[1].partition("\nmonth flights")[2].splitlines()[2:]
        months = [line.split() for line in table if re.match(r"[A-Z][a-z]{2} +\d", line)]

        assert [line[0] for line in months] == [
            "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ]  # fmt: skip
        flights = [int(line[1].replace(",", "")) for line in months]
        # Flights that left New York in these months of 2013, cancelled ones left out.
        assert sum(flights) == pytest.approx(250_000, rel=0.05)
        cheaper = 0
        for line in months:
            psi, auc, cost, baseline = (float(field) for field in line[4:8])
            assert psi >= 0
            assert 0.5 < auc < 1
            assert line[8] == f"{cost / baseline - 1:+.0%}"
            cheaper += cost < baseline
        assert cheaper >= 6  # the data decide; in some months a goal is missed, and it retrains

    def test_a_challenger_is_accepted_and_another_refused(self, told: tuple[Path, str]) -> None:
        events = Workspace.open(told[0]).ledger.events(kinds=["action.taken"])
        retrained = [event.payload for event in events if event.payload["kind"] == "retrain"]
        outcomes = {payload["outcome"] for payload in retrained if payload["detail"]}

        assert {"done", "refused"} <= outcomes
        assert re.search(r"challenger \d+ accepted", told[1])
        assert re.search(r"challenger \d+ refused", told[1])

    def test_the_bad_release_passes_its_gate_and_is_rolled_back_before_any_outcome(
        self, told: tuple[Path, str]
    ) -> None:
        space = Workspace.open(told[0])
        [bad] = {
            event.payload["rolled_back"]
            for event in space.ledger.events(kinds=["release.written"])
            if event.payload["rolled_back"] is not None
        }
        events = space.ledger.events(kinds=["action.taken"])
        [action] = [
            event.payload
            for event in events
            if (event.payload["kind"], event.payload["outcome"]) == ("rollback", "done")
        ]

        assert space.registry.get(bad).gate_passed
        assert action["version"] == bad
        findings = {
            event.payload["id"]: event.payload
            for event in space.ledger.events()
            if event.kind.startswith("finding.")
        }
        grounds = [findings[name] for name in action["findings"]]
        assert {ground["kind"] for ground in grounds} == {"drift"}
        assert all(ground["labels"] is None for ground in grounds)
        assert re.search(r"Rolled back from version \d+ to \d+ after [\d,]+ predictions", told[1])
        assert space.registry.serving("production") != space.registry.get(bad)

    def test_what_it_leaves_holds_and_can_be_explored(self, told: tuple[Path, str]) -> None:
        folder, said = told
        offered = re.findall(r"\n  loopline (status|model list|audit verify) ", said)
        assert len(offered) == 3
        for step in offered:
            done = subprocess.run(
                [sys.executable, "-m", "loopline", *step.split()],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, ""), step
        assert "events hold together, from the first to the last" in done.stdout

    def test_a_person_s_own_data_is_where_it_ends(self, told: tuple[Path, str]) -> None:
        assert told[1].rstrip().endswith("loopline new NAME --data FILE --target COLUMN")
        found = re.search(r"That was nine months in (\d+) s", told[1])
        assert found is not None
