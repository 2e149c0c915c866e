"""Tables on a terminal: as wide as it is, and wide where output goes to a file or a program."""

import shutil
import textwrap
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.text import Text

_LEAST = 12  # characters that are left of a text that is cut
_PROSE = 24  # characters that a column of sentences has at least
_WIDE = 200  # characters a line where no terminal says how many it has


def width() -> int:
    """Return how many characters a line may have."""
    return shutil.get_terminal_size((_WIDE, 24)).columns


def hang(begin: str, text: str) -> str:
    """Return `text` behind `begin`, its lines below each other; under it where there is no room."""
    room = width()
    indent = len(begin) + 2
    if indent > room // 2:
        return f"{begin.rstrip()}\n{textwrap.indent(textwrap.fill(text, room - 6), ' ' * 6)}"
    folded = textwrap.wrap(text, room - indent) or [""]
    return f"{begin}  " + f"\n{' ' * indent}".join(folded)


def print_table(
    heads: Iterable[str],
    rows: Iterable[Iterable[object]],
    *,
    whole: Collection[int] = (0,),
    cut: int | None = None,
) -> None:
    """Print rows under their heads; the columns (from 0) of `whole` are never folded.

    Nor is a figure or a name: where the terminal is too narrow for those, it folds the line itself.
    With `cut` none is folded, and that column alone ends with an ellipsis where there is no room.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from loopline.governance.audit import printable

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    heads = list(heads)
    # As text: names and reasons are never read as markup, nor by the terminal.
    shown = [[Text(printable(str(value))) for value in row] for row in rows]
    if cut is not None:
        _cut([[Text(head) for head in heads], *shown], cut)
    needed = 0
    for place, head in enumerate(heads):
        column = [row[place] for row in shown]
        longest = max(text.cell_len for text in [Text(head), *column])
        is_prose = longest > _PROSE and any(" " in text.plain for text in column)
        folds = cut is None and place not in whole and is_prose
        table.add_column(head, no_wrap=not folds, overflow="fold")
        needed += (_PROSE if folds else longest) + 2
    for row in shown:
        table.add_row(*row)
    console = Console(width=max(width(), needed))
    with console.capture() as drawn:
        console.print(table)
    # Without the spaces that fill each line: who pipes it would carry them along.
    click.echo("\n".join(line.rstrip() for line in drawn.get().splitlines()))


def _cut(rows: "list[list[Text]]", cut: int) -> None:
    """Shorten the texts of one column to what the others leave; names to a third of a line."""
    room = width()
    for row in rows[1:]:
        row[0].truncate(max(room // 3, _LEAST), overflow="ellipsis")
    others = sum(
        max(row[place].cell_len for row in rows) + 2
        for place in range(len(rows[0]))
        if place != cut
    )
    for row in rows[1:]:
        row[cut].truncate(max(room - others, _LEAST), overflow="ellipsis")
