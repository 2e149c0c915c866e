"""Tables on a terminal: as wide as it is, and wide where output goes to a file or a program."""

import shutil
import textwrap
from collections.abc import Collection, Iterable

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
    heads: Iterable[str], rows: Iterable[Iterable[object]], *, whole: Collection[int] = (0,)
) -> None:
    """Print rows under their heads; the columns (from 0) of `whole` are never folded."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from loopline.governance.audit import printable

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, head in enumerate(heads):
        table.add_column(head, no_wrap=place in whole, overflow="fold")
    for row in rows:
        # As text: names and reasons are never read as markup, nor by the terminal.
        table.add_row(*(Text(printable(str(value))) for value in row))
    Console(width=width()).print(table)
