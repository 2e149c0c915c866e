"""What the environment decides, and what holds where it says nothing."""

import getpass
from pathlib import Path

import pytest

from loopline.errors import SettingError
from loopline.settings import Settings


def test_where_the_environment_says_nothing_everything_is_in_the_project(tmp_path: Path) -> None:
    settings = Settings.read(tmp_path, {})

    home = tmp_path / ".loopline"
    assert settings.home == home
    assert settings.database_url == f"sqlite:///{home}/loopline.db"
    assert settings.store_url == f"file://{home}/store"
    assert settings.tracking_uri == f"sqlite:///{home}/mlflow.db"
    assert (settings.token, settings.webhook, settings.webhook_private) == (None, None, False)
    assert not home.exists()  # reading makes nothing


def test_the_environment_decides(tmp_path: Path) -> None:
    environ = {
        "LOOPLINE_HOME": str(tmp_path / "else where"),
        "LOOPLINE_DATABASE": "postgresql://db/loops",
        "LOOPLINE_STORE": "s3://bucket/loops",
        "LOOPLINE_MLFLOW": "off",
        "MLFLOW_TRACKING_URI": "databricks",
        "LOOPLINE_ACTOR": "ada",
        "LOOPLINE_TOKEN": "a token of some length",
        "LOOPLINE_WEBHOOK": "https://alerts.example/hook",
        "LOOPLINE_WEBHOOK_PRIVATE": "1",
    }
    settings = Settings.read(Path("/nowhere"), environ)

    assert settings.home == tmp_path / "else where"
    assert settings.database_url == "postgresql://db/loops"
    assert settings.store_url == "s3://bucket/loops"
    assert settings.tracking_uri == "off"  # Loopline's own name goes before MLflow's
    assert settings.actor == "ada"
    assert settings.token == "a token of some length"
    assert settings.webhook == "https://alerts.example/hook"
    assert settings.webhook_private
    assert (
        Settings.read(tmp_path, {"MLFLOW_TRACKING_URI": "databricks"}).tracking_uri == "databricks"
    )


def test_an_empty_variable_says_nothing(tmp_path: Path) -> None:
    names = ("HOME", "DATABASE", "STORE", "MLFLOW", "ACTOR", "TOKEN", "WEBHOOK")

    empty = Settings.read(tmp_path, {f"LOOPLINE_{name}": "" for name in names})

    assert empty == Settings.read(tmp_path, {})


def test_a_home_that_is_relative_is_one_place_wherever_a_command_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert Settings.read(tmp_path, {"LOOPLINE_HOME": "kept"}).home == tmp_path / "kept"


def test_a_home_with_a_space_is_still_one_store(tmp_path: Path) -> None:
    settings = Settings.read(tmp_path, {"LOOPLINE_HOME": str(tmp_path / "a b")})

    assert settings.store_url == f"file://{tmp_path}/a%20b/store"


def test_without_an_actor_it_is_the_login_and_without_a_login_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Settings.read(tmp_path, {}).actor == getpass.getuser()

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert Settings.read(tmp_path, {}).actor == "unknown"


def test_a_secret_is_read_by_name_and_a_missing_one_says_how_to_set_it(tmp_path: Path) -> None:
    settings = Settings.read(tmp_path, {"DB_PASSWORD": "s3cret"})

    assert settings.secret("DB_PASSWORD") == "s3cret"
    with pytest.raises(SettingError, match=r"\$\{OTHER\}.* is not set\. .*export OTHER="):
        settings.secret("OTHER")


def test_secrets_do_not_show_when_settings_are_printed(tmp_path: Path) -> None:
    environ = {
        "DB_PASSWORD": "s3cret",
        "LOOPLINE_TOKEN": "s3cret token of some length",
        "LOOPLINE_DATABASE": "postgresql://ada:s3cret@db/loops",
        "LOOPLINE_WEBHOOK": "https://alerts.example/s3cret",
    }

    assert "s3cret" not in repr(Settings.read(tmp_path, environ))


def test_a_token_is_asked_for_unless_the_platform_is_said_to_authenticate(tmp_path: Path) -> None:
    def read(**environ: str) -> bool:
        return Settings.read(tmp_path, environ).platform_authenticates

    assert not read()
    assert not read(LOOPLINE_ACCESS="token", LOOPLINE_TOKEN="x")
    assert read(LOOPLINE_ACCESS="platform")
    with pytest.raises(SettingError, match="'none', but it is token or platform"):
        read(LOOPLINE_ACCESS="none")
    with pytest.raises(SettingError, match="Unset one of them"):
        read(LOOPLINE_ACCESS="platform", LOOPLINE_TOKEN="x")
