"""CSV and JSON lines: one line in, one line out, as SageMaker's batch transform joins them."""

import csv
import io
import json
from typing import Any

import numpy as np
import pytest

CSV = {"content-type": "text/csv"}
LINES = {"content-type": "application/jsonlines"}


def text_of(records: list[dict[str, Any]], *, header: bool) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    if header:
        writer.writerow(records[0])
    writer.writerows(
        ["" if value is None else str(value).lower() if value in (True, False) else value
         for value in record.values()]
        for record in records
    )  # fmt: skip
    return out.getvalue().encode()


@pytest.fixture
def expected(late: Any) -> list[str]:
    scores = late.original.scores(late.columns)[:20]
    return ["true" if score >= 0.23 else "false" for score in scores]


def test_a_csv_without_a_header_gets_a_line_for_each_record(
    serve: Any, late: Any, expected: list[str]
) -> None:
    body = text_of(late.records[:20], header=False)

    answer = serve(late).post("/invocations", body, **CSV)

    assert answer.status == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.body.decode().splitlines() == expected
    assert answer.body.endswith(b"\n")


def test_a_csv_with_a_header_is_answered_as_mlflow_does_unless_lines_are_wanted(
    serve: Any, late: Any, expected: list[str]
) -> None:
    client, body = serve(late), text_of(late.records[:20], header=True)

    usual = client.post("/invocations", body, **CSV)
    lines = client.post("/invocations", body, **CSV, accept="text/csv")

    assert [str(label).lower() for label in usual.json["predictions"]] == expected
    assert usual.json["model_version"] == "3"
    assert usual.json["prediction_ids"][19] == f"{usual.headers['x-request-id']}-19"
    assert lines.body.decode().splitlines() == expected


@pytest.mark.parametrize("output", ["probability", "all"])
@pytest.mark.parametrize(("model", "classes"), [("late", 1), ("origin", 3)])
def test_accept_chooses_what_a_line_says(
    serve: Any, request: Any, model: str, classes: int, output: str
) -> None:
    trained = request.getfixturevalue(model)
    body = text_of(trained.records[:5], header=False)

    answer = serve(trained).post("/invocations", body, **CSV, accept=f"text/csv; output={output}")

    rows = list(csv.reader(io.StringIO(answer.body.decode())))
    scores = trained.original.scores(trained.columns)[:5].reshape(5, classes)
    numbers = [[float(value) for value in row[-classes:]] for row in rows]
    np.testing.assert_allclose(numbers, scores, rtol=0, atol=1e-12)
    assert {len(row) for row in rows} == {classes + (output == "all")}


@pytest.mark.parametrize(("model", "said"), [("late", "probability"), ("delay", "prediction")])
def test_json_lines_get_an_object_for_each_record(
    serve: Any, request: Any, model: str, said: str
) -> None:
    trained = request.getfixturevalue(model)
    client, records = serve(trained), trained.records[:6]
    scores = trained.original.scores(trained.columns)[:6]
    objects = b"\n".join(json.dumps(record).encode() for record in records)
    lists = b"\n\n".join(json.dumps(list(record.values())).encode() for record in records)

    for body in (objects, objects + b"\n", lists, objects.replace(b"\n", b"\r\n")):
        answer = client.post("/invocations", body, **LINES)
        assert answer.headers["content-type"] == "application/jsonlines"
        found = [json.loads(line) for line in answer.body.splitlines()]
        np.testing.assert_allclose([one[said] for one in found], scores, rtol=1e-12, atol=1e-12)
        ids = [f"{answer.headers['x-request-id']}-{row}" for row in range(6)]
        assert [one["prediction_id"] for one in found] == ids


def test_a_multiclass_line_names_its_classes(serve: Any, origin: Any) -> None:
    body = json.dumps(origin.records[0]).encode()

    [line] = serve(origin).post("/invocations", body, **LINES).body.splitlines()

    assert set(json.loads(line)["probability"]) == {"EWR", "JFK", "LGA"}


def test_the_first_line_is_a_header_when_it_names_columns_or_is_said_to_be(
    serve: Any, adding: Any
) -> None:
    client = serve(adding)

    def posted(body: bytes, kind: str = "text/csv") -> Any:
        return client.post("/invocations", body, **{"content-type": kind})

    assert posted(b"1,2\n3,4\n").body == b"3.0\n7.0\n"
    assert posted(b"b,a\n1,2\n").json["predictions"] == [3.0]
    assert posted(b" a , b \n1,2\n").json["predictions"] == [3.0]
    assert posted(b"a,b,c,d,e\n1,2,3,4,5\n").json["predictions"] == [3.0]
    assert posted(b"1,2\n", "text/csv; header=absent").body == b"3.0\n"
    assert posted(b"a,b\n1,2\n", "text/csv; header=present").json["predictions"] == [3.0]
    missing = posted(b"a,c\n1,2\n")
    assert (missing.status, missing.json["message"][:22]) == (400, "The request has no 'b'")
    assert posted(b"a,b\n1,2\n", "text/csv; header=absent").status == 400
    wrong = posted(b"x,y,z\n1,2,3\n")
    assert (wrong.status, wrong.json["message"][:27]) == (400, "The request has no 'a', 'b'")


def test_the_platforms_id_of_a_request_is_kept_beside_it(serve: Any, adding: Any) -> None:
    client = serve(adding)

    client.post("/invocations", b"1,2\n", **CSV, **{"x-amzn-sagemaker-inference-id": "mine-7"})

    [frame] = [frame for frame in client.frames() if frame[0] == "p"]
    assert frame[2] == "mine-7"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "application/jsonlines"),
        (b"\n \n", "application/jsonlines"),
        (b"{", "application/jsonlines"),
        (b"7", "application/jsonlines"),
        (b"null", "application/jsonlines"),
        (b'{"a":1}\n[1,2]', "application/jsonlines"),
        (b'[1,2]\n{"a":1}', "application/jsonlines"),
        (b"[1,2,3]", "application/jsonlines"),
        (b"[" * 100_000, "application/jsonlines"),
        (b"\xff\xfe", "application/jsonlines"),
        (b"", "text/csv"),
        (b"1,2\n3\n", "text/csv"),
        (b"x,y\n", "text/csv"),
        (b'"1,2\n', "text/csv"),
        (b"1,2\n", "text/csv; header=present"),
    ],
)
def test_broken_lines_get_a_400_that_both_kinds_of_client_can_read(
    serve: Any, adding: Any, body: bytes, kind: str
) -> None:
    answer = serve(adding).post("/invocations", body, **{"content-type": kind})

    assert answer.status == 400
    assert answer.json["error"] == answer.json["message"]


def test_an_output_that_is_none_is_refused(serve: Any, adding: Any) -> None:
    answer = serve(adding).post("/invocations", b"1,2\n", **CSV, accept="text/csv; output=x")

    assert answer.status == 400
    assert "it may be label, probability, all" in answer.json["message"]
