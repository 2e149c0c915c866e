"""`loopline token`: who may call the server, and what for."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from loopline.cli.main import find_project, json_option, project_option

if TYPE_CHECKING:
    from loopline.governance.access import Access
    from loopline.store.ledger import Ledger

_SCOPES = ("predict", "feedback", "metrics", "admin")


@click.group(help="Make, list and revoke what callers of the server must send.")
def command() -> None:
    """Hold the verbs below."""


@command.command(help="Make a token and print it: the one time that it can be read.")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(_SCOPES),
    help="What it opens; may be repeated.",
)
@click.option("--expires", metavar="TIME", help="When it ends by itself, such as 90 days.")
@click.option(
    "--rate",
    type=click.FloatRange(0, 1_000_000, min_open=True),
    help="Requests a second; past it callers get 429.",
)
@click.option(
    "--burst", type=click.IntRange(1), help="Requests at once; by default one second's of --rate."
)
@project_option
def make(
    name: str,
    scopes: tuple[str, ...],
    expires: str | None,
    rate: float | None,
    burst: int | None,
    project: Path | None,
) -> None:
    """Print the token on a line of its own."""
    from datetime import UTC, datetime, timedelta

    from loopline.contract.quantities import Amount
    from loopline.governance import tokens
    from loopline.governance.access import SCOPES

    if burst is not None and rate is None:
        raise click.UsageError("--burst says how many of --rate may come at once; give both.")
    now = datetime.now(UTC)
    until = None
    if expires is not None:
        try:
            amount = Amount.parse(expires)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--expires") from None
        if amount.unit != "s" or not 0 < amount < 1e10:
            message = "this must be a time such as 90 days or 12 hours."
            raise click.BadParameter(message, param_hint="--expires")
        until = now + timedelta(seconds=float(amount))
    wanted = [scope for scope in SCOPES if scope in scopes]
    access, ledger = _access(project), _ledger(project)
    click.echo(
        tokens.make(access, ledger, name, wanted, now=now, expires_at=until, rate=rate, burst=burst)
    )
    click.echo(
        "Keep it now: only its hash is kept here. Callers send it as\n"
        "  Authorization: Bearer TOKEN",
        err=True,
    )


@command.command("list", help="List the tokens: names, scopes and ends, never the tokens.")
@json_option
@project_option
def list_(as_json: bool, project: Path | None) -> None:
    """Print what is known of each token."""
    import msgspec

    from loopline.cli.table import print_table

    tokens = _access(project).tokens()
    if as_json:
        rows = [
            {key: value for key, value in msgspec.to_builtins(token).items() if key != "digest"}
            for token in tokens
        ]
        click.echo(msgspec.json.format(msgspec.json.encode(rows)))
        return
    if not tokens:
        click.echo("There are no tokens. Make one with: loopline token make NAME --scope predict")
        return
    print_table(
        ("name", "scopes", "made", "expires", "rate"),
        (
            (
                token.name,
                ", ".join(token.scopes),
                f"{token.made_at:%Y-%m-%d %H:%M}",
                "never" if token.expires_at is None else f"{token.expires_at:%Y-%m-%d %H:%M}",
                "" if token.rate is None else f"{token.rate:g}/s, {token.burst} at once",
            )
            for token in tokens
        ),
    )


@command.command(help="End a token; running servers refuse it within half a second.")
@click.argument("name")
@project_option
def revoke(name: str, project: Path | None) -> None:
    """Remove what is kept of it."""
    from datetime import UTC, datetime

    from loopline.governance import tokens

    tokens.revoke(_access(project), _ledger(project), name, now=datetime.now(UTC))
    click.echo(f"{name} is revoked.")


def _ledger(project: Path | None) -> "Ledger":
    from loopline.contract.load import project_name
    from loopline.settings import Settings
    from loopline.store.database import Database
    from loopline.store.ledger import Ledger

    root = find_project(project)
    settings = Settings.read(root)
    name = project_name(root / "loopline.yaml")
    heads = settings.home / "heads"
    return Ledger(Database(settings.database_url), name, settings.actor, heads=heads)


def _access(project: Path | None) -> "Access":
    from loopline.governance.access import Access
    from loopline.settings import Settings

    return Access(Settings.read(find_project(project)).home)
