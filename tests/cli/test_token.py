"""`loopline token`: shown once, listed without itself, ended by name."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from loopline.cli.main import cli
from loopline.governance.access import Access


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("LOOPLINE_HOME", "LOOPLINE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "loopline.yaml").write_text("project: churn\n")
    return tmp_path


def run(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["token", *arguments, "--project", str(root)])


def test_a_token_is_made_listed_and_revoked(root: Path) -> None:
    made = run(root, "make", "scoring", "--scope", "predict", "--scope", "feedback", "--rate", "50")
    token = made.stdout.strip()
    access = Access(root / ".loopline")

    assert made.exit_code == 0
    assert "Authorization: Bearer TOKEN" in made.stderr
    assert access.allows(f"Bearer {token}", "predict")
    assert access.allows(f"Bearer {token}", "feedback")
    assert not access.allows(f"Bearer {token}", "metrics")

    listed = run(root, "list").stdout
    assert "scoring" in listed
    assert "predict, feedback" in listed
    assert "never" in listed
    assert "50/s, 50 at once" in listed
    assert token not in listed

    assert run(root, "revoke", "scoring").stdout == "scoring is revoked.\n"
    assert not Access(root / ".loopline").allows(f"Bearer {token}", "predict")
    assert run(root, "list").stdout.startswith("There are no tokens. Make one with:")


def test_the_list_as_json_has_everything_but_the_hash(root: Path) -> None:
    run(root, "make", "prometheus", "--scope", "metrics", "--expires", "90 days")

    [row] = json.loads(run(root, "list", "--json").stdout)

    [token] = Access(root / ".loopline").tokens()
    assert row["name"] == "prometheus"
    assert row["scopes"] == ["metrics"]
    assert token.digest not in json.dumps(row)
    assert token.expires_at is not None
    assert (token.expires_at - token.made_at).days == 90


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["make", "a"], "Missing option '--scope'"),
        (["make", "a", "--scope", "everything"], "'everything' is not one of 'predict'"),
        (["make", "a", "--scope", "predict", "--expires", "soon"], "this must be a number"),
        (["make", "a", "--scope", "predict", "--expires", "5%"], "such as 90 days"),
        (["make", "a", "--scope", "predict", "--burst", "5"], "give both"),
    ],
)
def test_a_misused_option_is_named(root: Path, arguments: list[str], said: str) -> None:
    result = run(root, *arguments)

    assert result.exit_code == 2
    assert said in result.stderr


def test_what_is_not_there_cannot_be_revoked(root: Path) -> None:
    run(root, "make", "scoring", "--scope", "predict")

    assert str(run(root, "revoke", "other").exception) == (
        "There is no token 'other'. Tokens: scoring."
    )
