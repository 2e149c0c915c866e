"""The example data sets of NannyML and Evidently through Loopline, beside what these say of them.

    python -m bench.examples [--only SET] [--page] [--json FILE]

Of each set: which columns have drifted, in the whole table (`loopline profile` beside Evidently and
NannyML) and in each of NannyML's ten chunks (`loopline watch` beside NannyML); and the performance
that is estimated before outcomes are known, beside the realised one. All in one run, each peer with
its defaults and in its own environment. `--page` writes the tables into the documentation.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import venvs
from bench.examples_data import EXAMPLES, Example, Made, make
from bench.examples_peers import THRESHOLD
from bench.examples_watch import Chunk, watched
from bench.load import BenchError
from bench.peers import loopline
from bench.tables import written

_HERE = Path(__file__).resolve()
_PAGE = _HERE.parents[1] / "docs" / "explanation" / "watching-examples.md"
_SECONDS = 900.0
_SHOWN = 6


@dataclass
class Verdicts:
    """What everybody said of one set."""

    name: str
    rows: tuple[int, int]
    columns: list[str]
    own: dict[str, dict[str, Any]]
    """By column: `drifted` and `psi`, of the whole table."""
    nannyml: dict[str, Any]
    evidently: dict[str, Any]
    chunks: list[Chunk] = field(default_factory=list)
    seconds: float = 0.0

    def by_chunk(self) -> dict[str, list[tuple[bool, bool, bool]]]:
        """Return by column and chunk what NannyML said, and Loopline by its limit and by theirs."""
        return {
            name: [
                (
                    distance > THRESHOLD,
                    name in chunk.found,
                    chunk.distance.get(name, 0.0) > THRESHOLD and name not in chunk.chance,
                )
                for distance, chunk in zip(self.nannyml["chunks"][name], self.chunks, strict=True)
            ]
            for name in self.columns
        }


def examine(example: Example, folder: Path, judge_by: str) -> Verdicts:
    """Put one set through all of them.

    Raises:
        BenchError: a peer fails; the text says how.
    """
    began = time.monotonic()
    made = make(example, folder / "data")
    first, second = made.tables
    found = json.loads(_ran(loopline("profile", str(first), str(second), "--json")))
    columns = [*made.numbers, *made.texts]
    own = {one["column"]: one for one in found["drift"] if one["column"] in columns}
    verdicts = Verdicts(
        example.name,
        (found["reference"]["rows"], found["current"]["rows"])
        if "current" in found
        else _rows(made),
        columns,
        {name: {"drifted": one["drifted"], "psi": one["psi"]} for name, one in own.items()},
        _asked("nannyml", made),
        _asked("evidently", made),
    )
    if example.task is not None:
        verdicts.chunks = watched(made, folder / "project", judge_by)
    verdicts.seconds = time.monotonic() - began
    return verdicts


def _rows(made: Made) -> tuple[int, int]:
    import pyarrow.parquet as pq

    before, after = (pq.ParquetFile(place).metadata.num_rows for place in made.tables)
    return before, after


def _asked(peer: str, made: Made) -> dict[str, Any]:
    python = str(venvs.made(peer) / "python")
    script = str(_HERE.with_name("examples_peers.py"))
    answer: dict[str, Any] = json.loads(
        _ran([python, script, peer, str(made.folder)]).splitlines()[-1]
    )
    return answer


def _ran(command: Sequence[str]) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{' '.join(command[:3])} took more than {_SECONDS:.0f} s.") from error
    if ran.returncode:
        said = ran.stderr.strip().splitlines()
        raise BenchError(f"{' '.join(command[:3])} failed: {said[-1] if said else ''}")
    return ran.stdout


def of_tables(every: Sequence[Verdicts]) -> Iterator[str]:
    """Yield the table of what has drifted as a whole."""
    yield _row("set", "rows", "columns", "all agree", "where they differ")
    yield _row(*["---"] * 5)
    for one in every:
        differing, alike = [], 0
        for name in one.columns:
            own, theirs = one.own[name], one.evidently["whole"].get(name)
            distance = one.nannyml["whole"][name]
            said = {own["drifted"], distance > THRESHOLD} | (
                {theirs["drifted"]} if theirs else set()
            )
            alike += len(said) == 1
            if len(said) > 1:
                differing.append(
                    f"`{name}`: Loopline {_said(own['drifted'])} (PSI {own['psi']:.2f}), "
                    f"NannyML {_said(distance > THRESHOLD)} ({distance:.2f})"
                    + (f", Evidently {_said(theirs['drifted'])} ({theirs['value']:.2f})"
                       if theirs else "")
                )  # fmt: skip
        yield _row(
            f"`{one.name}`", f"{one.rows[0]:,} and {one.rows[1]:,}", str(len(one.columns)),
            str(alike), "; ".join(differing[:_SHOWN]) + _more(differing),
        )  # fmt: skip


def of_chunks(every: Sequence[Verdicts]) -> Iterator[str]:
    """Yield the table of what has drifted chunk by chunk."""
    yield _row("set", "verdicts", "NannyML: drift", "Loopline: drift", "alike",
               "alike at NannyML's limit", "where they differ at that limit")  # fmt: skip
    yield _row(*["---"] * 7)
    for one in every:
        if not one.chunks:
            continue
        by_column = one.by_chunk()
        every_pair = [found for pairs in by_column.values() for found in pairs]
        differing = []
        for name, pairs in by_column.items():
            places = [place for place, (theirs, _, same) in enumerate(pairs) if theirs != same]
            if places:
                own = [one.chunks[place].distance.get(name, 0.0) for place in places]
                far = [one.nannyml["chunks"][name][place] for place in places]
                differing.append(
                    f"`{name}` {len(places)} (NannyML {_between(far)}, Loopline {_between(own)}"
                    f"{_by_chance(name, [one.chunks[place] for place in places])})"
                )
        counted = [sum(column) for column in zip(*every_pair, strict=True)]
        yield _row(
            f"`{one.name}`", str(len(every_pair)), str(counted[0]), str(counted[1]),
            str(sum(theirs == own for theirs, own, _ in every_pair)),
            str(sum(theirs == same for theirs, _, same in every_pair)),
            "; ".join(differing[:_SHOWN]) + _more(differing),
        )  # fmt: skip


def _by_chance(name: str, chunks: Sequence[Chunk]) -> str:
    number = sum(name in chunk.chance for chunk in chunks)
    return f", {number} no more than chance" if number else ""


def _between(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def of_performance(every: Sequence[Verdicts]) -> Iterator[str]:
    """Yield the table of performance, estimated and realised, chunk by chunk."""
    yield _row("set", "metric", "realised", "largest difference of realised", "NannyML is off by",
               "Loopline is off by", "NannyML's interval holds it", "Loopline's")  # fmt: skip
    yield _row(*["---"] * 8)
    for one in every:
        if not one.chunks:
            continue
        theirs = one.nannyml
        rows = [
            (real, chunk, *known)
            for chunk, real, *known in zip(
                one.chunks, theirs["realised"], theirs["estimated"], theirs["low"], theirs["high"],
                strict=True,
            )
            if real is not None and chunk.realised is not None and chunk.estimated is not None
        ]  # fmt: skip
        if not rows:
            yield _row(f"`{one.name}`", EXAMPLES[one.name].metric, *["not realised"] * 6)
            continue
        reals = [real for real, *_ in rows]
        held = [chunk.estimated[1] <= real <= chunk.estimated[2] for real, chunk, *_ in rows]
        kept = [low <= real <= high for real, _, _, low, high in rows]
        ours = [abs(chunk.estimated[0] - real) for real, chunk, *_ in rows]
        others = [abs(value - real) for real, _, value, *_ in rows]
        apart = max(abs(chunk.realised - real) for real, chunk, *_ in rows)
        yield _row(
            f"`{one.name}`", EXAMPLES[one.name].metric, f"{min(reals):.4g} to {max(reals):.4g}",
            f"{apart:.2g}", f"{sum(others) / len(rows):.4g}", f"{sum(ours) / len(rows):.4g}",
            f"{sum(kept)} of {len(rows)}", f"{sum(held)} of {len(rows)}",
        )  # fmt: skip


def _said(drifted: bool) -> str:
    return "yes" if drifted else "no"


def _more(differing: Sequence[str]) -> str:
    return f"; and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def page(every: Sequence[Verdicts]) -> Iterator[str]:
    """Yield the tables as the page of the documentation has them."""
    yield "Whole tables:\n\n"
    yield from of_tables(every)
    yield "\nChunk by chunk:\n\n"
    yield from of_chunks(every)
    yield "\nPerformance by chunk, before and after outcomes:\n\n"
    yield from of_performance(every)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them all; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.examples", description=__doc__)
    parser.add_argument("--only", action="append", choices=[*EXAMPLES], help="may be repeated")
    parser.add_argument("--judge-by", default="interval", choices=["interval", "figure"])
    parser.add_argument("--page", action="store_true", help="write the tables into the docs")
    parser.add_argument("--json", type=Path, help="write everything there")
    options = parser.parse_args(arguments)
    every: list[Verdicts] = []
    code = 0
    with tempfile.TemporaryDirectory(prefix="loopline-examples-") as folder:
        try:
            for name in options.only or EXAMPLES:
                print(f"  {name}", file=sys.stderr, flush=True)
                every.append(examine(EXAMPLES[name], Path(folder) / name, options.judge_by))
        except BenchError as error:
            print(error, file=sys.stderr)
            code = 1
        except KeyboardInterrupt:
            code = 130
    print("".join(page(every)))
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in every], indent=1))
    if options.page and not code:
        written(_PAGE, "".join(page(every)))
    return code


if __name__ == "__main__":
    sys.exit(main())
