"""Batch scoring: what the server says, for a table, and what becomes of one that is stopped."""

import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from loopline.compute.threads import Threads
from loopline.data import batches
from loopline.data.batches import open_incoming
from loopline.errors import DataError, OutputRefusedError, RequestError, ServingError, SourceError
from loopline.serving import score as module
from loopline.serving.log import read_frames
from loopline.serving.parts import Target
from loopline.serving.score import Summary, Wanted, score

INFER = "/v2/models/flight-delays/infer"


@pytest.fixture
def run(workspace: Any, tmp_path: Path) -> Callable[..., Summary]:
    """`run(trained, source, out, ...)`: score with version 3, as the command does."""

    def start(
        trained: Any,
        source: str,
        out: str,
        *,
        on: Any = None,
        query: str | None = None,
        form: Any = None,
        with_plan: bool = True,
        version: int = 3,
        **more: Any,
    ) -> Summary:
        served = workspace.bundle(trained, version, with_plan=with_plan)
        where = {"path": source} if query is None else {"url": source, "query": query}
        return score(
            served,
            open_incoming(where, tmp_path, workspace.settings),
            Wanted(source=source, target=Target.of(out, tmp_path, form), **more),
            workspace.settings,
            on or Threads(1),
        )

    return start


def hostile(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return records with gaps, categories never seen, and texts that mean missing."""
    changed = [dict(record) for record in records[:400]]
    for place, record in enumerate(changed):
        if place % 5 == 1:
            record["carrier"] = "??" if place % 2 else "?"
        if place % 7 == 2:
            record |= {"dest": None, "hour": None}
        if place % 11 == 3:
            record |= {"scheduled": None, "weekend": None, "distance": None}
        if place % 13 == 4:
            record |= {"carrier": " AA ", "month": "7.0"}
    return changed


def write(records: list[dict[str, Any]], place: Path) -> Path:
    frame = pl.DataFrame(records, infer_schema_length=None)
    if place.suffix == ".parquet":
        frame.write_parquet(place, row_group_size=90)
    elif place.suffix == ".csv":
        frame.write_csv(place)
    else:
        place.write_text("".join(json.dumps(record) + "\n" for record in records))
    return place


def asked(client: Any, tensors: Any, trained: Any, records: list[dict[str, Any]]) -> dict[str, Any]:
    answer = client.post(INFER, {"inputs": tensors(trained, records)})
    assert answer.status == 200, answer.body
    return {tensor["name"]: tensor["data"] for tensor in answer.json["outputs"]}


def answers(place: Path) -> dict[str, list[Any]]:
    found = pq.read_table(place).to_pydict()
    return {name: found[name] for name in found if name not in {"prediction_id", "flight_id"}}


@pytest.fixture(params=["late", "origin", "delay"])
def any_task(request: pytest.FixtureRequest) -> Any:
    """Binary, multiclass and regression."""
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_table_gets_the_servers_answers_bit_for_bit(
    run, serve, tensors, tmp_path, any_task, suffix
):
    trained = any_task
    records = hostile(trained.records)
    source = write(records, tmp_path / f"flights{suffix}")

    summary = run(trained, str(source), "out.parquet")

    found = answers(tmp_path / "out.parquet")
    assert (summary.rows, summary.rejected) == (400, 0)
    assert found.pop("version") == [3] * 400
    client = serve(trained)
    one_by_one = [asked(client, tensors, trained, [record]) for record in records]
    said = {name: [each[name] for each in one_by_one] for name in one_by_one[0]}
    if trained.signature.task == "multiclass":  # a column for each class
        whole = np.array(said["probability"]).reshape(400, 3)
        assert found["label"] == [label for [label] in said["label"]]
        for place, label in enumerate(trained.signature.classes):
            assert found[f"probability of {label}"] == whole[:, place].tolist()
    else:
        assert found == {name: [value for [value] in values] for name, values in said.items()}


def test_an_original_answers_a_table_as_it_answers_the_server(run, serve, tensors, tmp_path, late):
    records = hostile(late.records)[:60]
    source = write(records, tmp_path / "flights.parquet")

    run(late, str(source), "out.parquet", with_plan=False, on=Threads(2))

    said = asked(serve(late, with_plan=False), tensors, late, records)
    found = answers(tmp_path / "out.parquet")
    assert (found["label"], found["probability"]) == (said["label"], said["probability"])


def test_one_thread_and_several_make_the_same_file(run, tmp_path, late, monkeypatch):
    source = write(hostile(late.records), tmp_path / "flights.parquet")
    monkeypatch.setattr(batches, "PIECE_ROWS", 90)
    monkeypatch.setattr(module, "_run_id", lambda: "0" * 24)

    run(late, str(source), "one.parquet", on=Threads(1))
    run(late, str(source), "three.parquet", on=Threads(3))

    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "three.parquet").read_bytes()
    ids = pq.read_table(tmp_path / "one.parquet")["prediction_id"].to_pylist()
    assert len(set(ids)) == 400
    assert ids[90] == f"{'0' * 24}-1-0-0"


def test_rows_that_cannot_be_scored_are_set_aside_with_the_servers_reason(
    run, serve, tensors, tmp_path, late
):
    records = [dict(record) for record in late.records[:20]]
    records[3]["distance"] = "far"
    records[7] |= {"hour": "12.5", "scheduled": "yesterday"}
    source = write(records, tmp_path / "flights.jsonl")

    summary = run(late, str(source), "out.csv")

    lines = (tmp_path / "out.csv.rejected.jsonl").read_text().splitlines()
    third, seventh = (json.loads(line) for line in lines)
    assert (summary.rows, summary.predictions, summary.rejected) == (20, 18, 2)
    assert third == {
        "source": str(source),
        "row": 3,
        "key": records[3]["flight_id"],
        "reasons": ["distance is 'far', but distance is a number."],
    }
    assert len(seventh["reasons"]) == 2
    refusal = serve(late).post(INFER, {"inputs": tensors(late, [records[3]])})
    assert refusal.status == 400
    assert third["reasons"][0].replace("distance is", "distance[0] is", 1) in refusal.json["error"]
    kept = pl.read_csv(tmp_path / "out.csv")["flight_id"].to_list()
    assert kept == [r["flight_id"] for place, r in enumerate(records) if place not in {3, 7}]


def test_with_strict_one_bad_row_leaves_nothing(run, tmp_path, late):
    records = [dict(record) for record in late.records[:20]]
    records[3]["distance"] = "far"
    source = write(records, tmp_path / "flights.jsonl")

    with pytest.raises(RequestError, match=r"row 3: distance is 'far'.*--strict"):
        run(late, str(source), "out.parquet", strict=True)

    assert not (tmp_path / "out.parquet").exists()
    assert not (tmp_path / "out.parquet.rejected.jsonl").exists()
    records[3]["distance"] = 5.0
    write(records, source)
    assert run(late, str(source), "out.parquet", strict=True).predictions == 20


def test_a_row_that_the_model_takes_no_gap_in_is_set_aside(run, tmp_path, adding):
    source = write([{"a": 1.0, "b": 2.0}, {"a": None, "b": 1.0}], tmp_path / "sums.parquet")

    summary = run(adding, str(source), "out.parquet")

    assert answers(tmp_path / "out.parquet")["prediction"] == [3.0]
    assert summary.rejected == 1
    assert "A value is missing" in summary.reasons[0]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_file_without_a_column_is_refused_before_a_row_is_scored(run, tmp_path, late, suffix):
    (tmp_path / "in").mkdir()
    write(late.records[:9], tmp_path / "in" / f"a{suffix}")
    lacking = [{n: v for n, v in r.items() if n != "distance"} for r in late.records[:9]]
    write(lacking, tmp_path / "in" / f"b{suffix}")

    with pytest.raises(
        DataError, match=rf"b{suffix} has no column 'distance', and flight-delays:3"
    ):
        run(late, "in", "out.parquet")

    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("out")) == []


def test_no_rows_are_no_predictions_and_a_file_that_says_its_columns(run, tmp_path, late):
    empty = pl.DataFrame(late.records[:1]).clear()
    empty.write_csv(tmp_path / "none.csv")
    empty.write_parquet(tmp_path / "none.parquet")

    for source in ("none.csv", "none.parquet"):
        summary = run(late, source, f"{source}.out.parquet")
        found = pq.read_table(tmp_path / f"{source}.out.parquet")
        assert (summary.rows, found.num_rows) == (0, 0)
        assert found.column_names == [
            "prediction_id",
            "flight_id",
            "label",
            "probability",
            "version",
        ]
    (tmp_path / "nothing.csv").write_bytes(b"")
    with pytest.raises(SourceError, match="is empty"):
        run(late, "nothing.csv", "out.parquet")


def test_every_column_can_be_carried_along_and_none_hides_an_answer(run, tmp_path, adding):
    wide = {f"c{place}": float(place) for place in range(29)}
    row = {"a": 1.0, "b": 2.0, "Version": "theirs", **wide}
    source = write([row, row], tmp_path / "wide.parquet")

    run(adding, str(source), "out.parquet", keep=("all",))
    run(adding, str(source), "some.parquet", keep=("c7",))

    found = pq.read_table(tmp_path / "out.parquet").to_pylist()[0]
    assert {name: found[name] for name in wide} == wide
    assert (found["input_Version"], found["version"], found["prediction"]) == ("theirs", 3, 3.0)
    some = pq.read_table(tmp_path / "some.parquet").column_names
    assert some == ["prediction_id", "c7", "prediction", "version"]
    with pytest.raises(DataError, match="--keep c99: there is no such column"):
        run(adding, str(source), "other.parquet", keep=("c99",))


def test_what_is_there_already_is_not_written_over(run, tmp_path, adding):
    source = write([{"a": 1.0, "b": 2.0}], tmp_path / "sums.parquet")
    (tmp_path / "out.parquet").write_text("theirs")

    with pytest.raises(OutputRefusedError, match="was not written by this command"):
        run(adding, str(source), "out.parquet")
    assert (tmp_path / "out.parquet").read_text() == "theirs"

    run(adding, str(source), "out.parquet", replace=True)
    ids = pq.read_table(tmp_path / "out.parquet")["prediction_id"]
    again = run(adding, str(source), "out.parquet")
    assert (again.rows, again.resumed_rows) == (1, 1)
    assert pq.read_table(tmp_path / "out.parquet")["prediction_id"] == ids
    write([{"a": 5.0, "b": 2.0}], source)
    with pytest.raises(OutputRefusedError, match="as it was"):
        run(adding, str(source), "out.parquet")


def test_a_folder_with_anything_else_in_it_is_never_cleared(run, tmp_path, adding):
    source = write([{"a": 1.0, "b": 2.0}], tmp_path / "sums.parquet")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years")

    with pytest.raises(OutputRefusedError, match=r"thesis\.txt"):
        run(adding, str(source), "home", replace=True)

    assert (tmp_path / "home" / "thesis.txt").read_text() == "years"


def test_one_writes_a_place_at_a_time(run, tmp_path, adding):
    source = write([{"a": 1.0, "b": 2.0}], tmp_path / "sums.parquet")
    target = Target.of("out.parquet", tmp_path, None)

    with (
        module._alone(module.Parts(target).lock_file(tmp_path), target.place),
        pytest.raises(OutputRefusedError, match=r"Another process writes .*out\.parquet"),
    ):
        run(adding, str(source), "out.parquet")

    assert run(adding, str(source), "out.parquet").predictions == 1


def test_a_folder_of_parts_is_finished_when_it_says_so(run, tmp_path, late, monkeypatch):
    source = write(late.records[:300], tmp_path / "flights.parquet")
    monkeypatch.setattr(batches, "PIECE_ROWS", 90)

    run(late, str(source), "out/")

    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["_SUCCESS", "_loopline", *(f"part-0000{n}.parquet" for n in range(4))]
    assert [p.name for p in (tmp_path / "out" / "_loopline").glob("*.json")] == ["manifest.json"]
    assert pl.read_parquet(tmp_path / "out" / "part-*.parquet").height == 300


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.csv.gz", "out.jsonl.gz"])
def test_texts_say_every_bit(run, tmp_path, late, name, monkeypatch):
    source = write(late.records[:200], tmp_path / "flights.parquet")
    monkeypatch.setattr(batches, "PIECE_ROWS", 90)
    run(late, str(source), "out.parquet")

    run(late, str(source), name)

    read = pl.read_csv if ".csv" in name else pl.read_ndjson
    found = read(tmp_path / name)
    assert found["probability"].to_list() == answers(tmp_path / "out.parquet")["probability"]


def test_a_delta_table_is_read_by_its_files_and_written_in_one_commit(run, tmp_path, adding):
    for part, value in (("x", 1.0), ("y", 10.0)):
        write_deltalake(
            str(tmp_path / "in"),
            pa.table({"a": [value, value + 1], "b": [1.0, 2.0], "part": [part, part]}),
            mode="append",
            partition_by=["part"],
        )
    write_deltalake(
        str(tmp_path / "in"), pa.table({"a": [0.0], "b": [0.0], "part": ["z"], "late": [1]}),
        mode="append", schema_mode="merge",
    )  # fmt: skip

    run(adding, "in", "out", form="delta", keep=("part", "late"))

    found = pl.read_delta(str(tmp_path / "out")).sort("prediction")
    assert found["prediction"].to_list() == [0.0, 2.0, 4.0, 11.0, 13.0]
    assert found["part"].to_list() == ["z", "x", "x", "y", "y"]
    assert found["late"].to_list() == [1, None, None, None, None]
    assert DeltaTable(str(tmp_path / "out")).version() == 0
    with pytest.raises(OutputRefusedError, match="not written by this command"):
        run(adding, "in", "in", form="delta")


def test_a_query_is_read_as_a_stream(run, tmp_path, adding, monkeypatch):
    import sqlite3

    with sqlite3.connect(tmp_path / "sums.db") as database:
        database.execute("create table sums (id text, a real, b text)")
        database.executemany(
            "insert into sums values (?, ?, ?)", [(f"r{n}", n, str(n)) for n in range(500)]
        )
    database.close()
    monkeypatch.setattr(batches, "PIECE_ROWS", 64)

    run(adding, "sqlite:///sums.db", "out.parquet", query="select * from sums", keep=("id",))

    found = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert found["prediction"] == [2.0 * n for n in range(500)]
    assert found["id"] == [f"r{n}" for n in range(500)]


def test_s3_is_read_and_written(run, bucket, tmp_path, late, monkeypatch):
    monkeypatch.setattr(batches, "PIECE_ROWS", 90)
    source = write(hostile(late.records), tmp_path / "flights.parquet")
    bucket["in/a b.parquet"] = source.read_bytes()
    bucket["in/_notes.txt"] = b"nobody's"
    run(late, str(source), "here.parquet")

    run(late, "s3://models/in/", "s3://models/out.parquet")
    run(late, "s3://models/in/*.parquet", "s3://models/parts/", form="csv", on=Threads(2))

    (tmp_path / "there.parquet").write_bytes(bucket["out.parquet"])
    assert answers(tmp_path / "there.parquet") == answers(tmp_path / "here.parquet")
    parts = [key for key in bucket if key.startswith("parts/part-")]
    assert len(parts) == 5
    assert "parts/_SUCCESS" in bucket
    bucket["in/a b.parquet"] = write(late.records[:9], source).read_bytes()
    with pytest.raises(OutputRefusedError, match="as it was"):
        run(late, "s3://models/in/", "s3://models/out.parquet")


def test_the_log_gets_what_the_server_would_have_written_and_once(
    run, serve, tensors, tmp_path, workspace, late
):
    records = hostile(late.records)[:200]
    source = write(records, tmp_path / "flights.parquet")

    run(late, str(source), "out.parquet", log=True)
    run(late, str(source), "out.parquet", log=True)

    folder = workspace.settings.home / "log" / "flight-delays" / "dev"
    frames = [p for s in sorted(folder.glob("*.log")) for p, _ in read_frames(s) if p[0] == "p"]
    ids = [f"{frame[1]}-{row}" for frame in frames for row in range(frame[8])]
    assert sorted(ids) == sorted(
        pq.read_table(tmp_path / "out.parquet")["prediction_id"].to_pylist()
    )
    assert {(frame[4], frame[5], frame[6], frame[7]) for frame in frames} == {
        (3, False, None, "batch")
    }
    client = serve(late)
    asked(client, tensors, late, records)
    [_, *_, rows, logged, said] = next(frame for frame in client.frames() if frame[0] == "p")
    assert rows == 200
    frames.sort(key=lambda frame: int(frame[1].split("-")[1]))
    assert [[v for f in frames for v in f[9][n]] for n in range(len(logged))] == logged
    assert [[v for f in frames for v in f[10][n]] for n in range(len(said))] == said


def test_a_version_whose_bundle_was_changed_scores_nothing(run, workspace, tmp_path, adding):
    source = write([{"a": 1.0, "b": 2.0}], tmp_path / "sums.parquet")
    served = workspace.bundle(adding, 3)
    plan = workspace.settings.home / "store" / "bundles" / "flight-delays" / "3" / "plan.bin"
    plan.write_bytes(plan.read_bytes()[:-8] + bytes(8))
    incoming = open_incoming(str(source), tmp_path, workspace.settings)

    with pytest.raises(Exception, match="is not what was signed"):
        score(served, incoming, Wanted(str(source), Target.of("o.parquet", tmp_path, None)),
              workspace.settings, Threads(1))  # fmt: skip

    assert not (tmp_path / "o.parquet.loopline").exists()


def _command(project: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "loopline", "score", *arguments, "--project", str(project)]


@pytest.fixture
def many_files(credit_project: Path, tmp_path: Path) -> Path:
    """A folder of 120 files, each a piece of its own."""
    frame = pl.read_csv(credit_project / "credit.csv")
    (tmp_path / "in").mkdir()
    for number in range(120):
        part = frame.slice(number * 8, 8).with_columns(at=pl.lit(number))
        part.write_parquet(tmp_path / "in" / f"{number:03d}.parquet")
    return tmp_path / "in"


def test_killed_in_the_middle_it_goes_on_and_scores_no_row_twice(
    credit_project: Path, many_files: Path, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    options = ("--keep", "all", "--threads", "1", "--log")
    subprocess.run(_command(credit_project, str(many_files), str(whole), *options), check=True)
    log = credit_project / ".loopline" / "log" / "credit" / "dev"
    before = set(log.glob("*.log"))
    receipts = tmp_path / "out.parquet.loopline" / "_loopline" / "receipts"
    kills = 0
    for wanted in (5, 40, 80):
        process = subprocess.Popen(_command(credit_project, str(many_files), str(out), *options))
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until:
            if receipts.is_dir() and len(list(receipts.glob("*.json"))) >= wanted:
                process.send_signal(signal.SIGKILL)
                kills += process.wait() == -signal.SIGKILL
                break
            time.sleep(0.002)
        assert not out.exists()
    assert kills == 3

    done = subprocess.run(
        [*_command(credit_project, str(many_files), str(out), *options), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    summary = json.loads(done.stdout)
    assert summary["rows"] == 960
    assert 80 * 8 <= summary["resumed_rows"] < 960
    found, expected = pq.read_table(out), pq.read_table(whole)
    assert found.drop(["prediction_id"]).equals(expected.drop(["prediction_id"]))
    ids = found["prediction_id"].to_pylist()
    assert len(set(ids)) == 960
    frames = [p for s in set(log.glob("*.log")) - before for p, _ in read_frames(s) if p[0] == "p"]
    logged = [f"{frame[1]}-{row}" for frame in frames for row in range(frame[8])]
    assert sorted(logged) == sorted(ids)


def test_a_disk_that_takes_no_more_is_one_message_and_no_half_file(
    credit_project: Path, many_files: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"

    def no_large_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    done = subprocess.run(
        _command(credit_project, str(many_files), str(out), "--keep", "all"),
        capture_output=True, text=True, check=False, preexec_fn=no_large_files,
    )  # fmt: skip

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "File too large" in done.stderr
    assert not out.exists()
    again = subprocess.run(
        [*_command(credit_project, str(many_files), str(out), "--keep", "all"), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(again.stdout)["rows"] == 960


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_on_spark_the_answers_are_the_same_bit_for_bit(run, tmp_path, late, monkeypatch, spark):
    monkeypatch.setattr(batches, "PIECE_ROWS", 90)
    monkeypatch.setattr(module, "_run_id", lambda: "0" * 24)
    records = hostile(late.records)
    for name in ("flights.parquet", "flights.csv"):
        source = write(records, tmp_path / name)
        run(late, str(source), f"{name}.one.parquet", on=Threads(1))
        run(late, str(source), f"{name}.two.parquet", on=Threads(2))
        run(late, str(source), f"{name}.spark.parquet", on=spark)
        one, two, there = (
            (tmp_path / f"{name}.{on}.parquet").read_bytes() for on in ("one", "two", "spark")
        )
        assert one == two == there


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_on_spark_what_is_refused_here_is_refused_in_the_same_words(run, tmp_path, late, spark):
    records = [*late.records[:5], late.records[5] | {"distance": "far"}]
    source = write(records, tmp_path / "bad.jsonl")

    with pytest.raises(RequestError, match=r"row 5: .*distance.*--strict"):
        run(late, str(source), "bad.parquet", on=spark, strict=True)
    with pytest.raises(ServingError, match="without --on spark"):
        run(late, str(source), "o.parquet", on=spark, with_plan=False, version=4)


def test_a_feature_of_another_version_is_another_run(run, workspace, tmp_path, adding):
    source = write([{"a": 1.0, "b": 2.0}], tmp_path / "sums.parquet")
    run(adding, str(source), "out.parquet")
    incoming = open_incoming(str(source), tmp_path, workspace.settings)
    served = replace(workspace.bundle(adding, 3), version=4)

    with pytest.raises(OutputRefusedError, match=r"flight-delays:3 .* would be flight-delays:4"):
        score(served, incoming, Wanted(str(source), Target.of("out.parquet", tmp_path, None)),
              workspace.settings, Threads(1))  # fmt: skip
