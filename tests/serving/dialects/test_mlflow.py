"""MLflow's scoring protocol: the recorded cases of its own server, and its traps."""

import pytest


def _post(client, body, **headers):
    return client.post("/invocations", body, **headers)


def test_every_form_of_the_same_rows_gets_the_same_predictions(serve, late):
    client = serve(late)
    records = late.records[:3]
    names = list(records[0])
    rows = [list(record.values()) for record in records]
    expected = ["true" if p >= 0.23 else "false" for p in late.original.scores(late.columns)[:3]]
    expected = [value == "true" for value in expected]

    forms = [
        {"dataframe_split": {"columns": names, "data": rows}},
        {
            "dataframe_split": {
                "columns": names[::-1],
                "data": [r[::-1] for r in rows],
                "index": [7, 8, 9],
            }
        },
        {"dataframe_records": records},
        {"dataframe_records": [dict(reversed(record.items())) for record in records]},
        {"instances": records},
        {"instances": rows},
        {"inputs": {name: [record[name] for record in records] for name in names}},
        {"inputs": records},
    ]

    for form in forms:
        answer = _post(client, form)
        assert answer.status == 200, answer.body
        assert answer.json["predictions"] == expected
        ids = [f"{answer.headers['x-request-id']}-{row}" for row in range(3)]
        assert answer.json["prediction_ids"] == ids
        assert answer.json["model_version"] == "3"


def test_one_row_is_answered_as_it_is_among_many(serve, late):
    client = serve(late)
    wanted = {"output": "probability"}
    many = _post(client, {"dataframe_records": late.records[:40], "params": wanted})

    for row, expected in zip(late.records[:40], many.json["predictions"], strict=True):
        for form in (
            {"dataframe_records": [row]},
            {"inputs": row},
            {"instances": [list(row.values())]},
        ):
            answer = _post(client, form | {"params": wanted}).json
            assert answer["predictions"] == [expected]


def test_csv_is_read_with_empty_fields_as_missing(serve, late):
    client = serve(late)
    records = [{**r, "weekend": str(r["weekend"]).lower()} for r in late.records[:30]]
    assert any(record["dest"] is None for record in records)
    lines = [",".join(records[0])]
    lines += [",".join("" if v is None else str(v) for v in record.values()) for record in records]

    for text in ("\n".join(lines), "\ufeff" + "\r\n".join(lines) + "\r\n"):
        answer = _post(client, text.encode(), **{"content-type": "text/csv; charset=utf-8"})
        expected = _post(client, {"dataframe_records": late.records[:30]})
        assert answer.json["predictions"] == expected.json["predictions"]


def test_params_choose_probabilities_or_both(serve, late, origin, delay):
    client = serve(late)
    body = {"dataframe_records": late.records[:2]}

    labels = _post(client, body).json["predictions"]
    numbers = _post(client, body | {"params": {"output": "probability"}}).json["predictions"]
    both = _post(client, body | {"params": {"output": "all"}}).json["predictions"]

    assert both == [
        {"label": label, "probability": number}
        for label, number in zip(labels, numbers, strict=True)
    ]
    assert _post(client, body | {"params": {"k": 2}}).json["predictions"] == labels
    other = _post(client, body | {"parameters": {"output": "all"}}).json["predictions"]
    assert other == both
    twice = _post(client, body | {"params": {}, "parameters": {}})
    assert (twice.status, twice.json["message"][:34]) == (400, "The body has params and parameters")
    wrong = _post(client, body | {"params": {"output": "score"}})
    assert wrong.status == 400
    assert "label, probability, all" in wrong.json["message"]


def test_a_multiclass_model_gives_labels_and_rows_of_probabilities(serve, origin):
    client = serve(origin)
    body = {"dataframe_records": origin.records[:2]}

    labels = _post(client, body).json["predictions"]
    rows = _post(client, body | {"params": {"output": "probability"}}).json["predictions"]

    assert set(labels) <= {"EWR", "JFK", "LGA"}
    assert [len(row) for row in rows] == [3, 3]
    assert [sum(row) for row in rows] == pytest.approx([1, 1])


def test_a_regression_gives_numbers(serve, delay):
    answer = _post(serve(delay), {"dataframe_records": delay.records[:2]})

    assert answer.json["predictions"] == pytest.approx(delay.original.scores(delay.columns)[:2])


def test_a_column_that_only_some_records_have_is_missing_in_the_others(serve, late):
    client = serve(late)
    first, second = late.records[0], late.records[1] | {"dest": None}
    without = {name: value for name, value in second.items() if name != "dest"}

    ragged = _post(client, {"dataframe_records": [first, without]}).json["predictions"]

    assert ragged == _post(client, {"dataframe_records": [first, second]}).json["predictions"]


def test_space_around_a_name_is_no_part_of_it_as_in_a_file(serve, late):
    client = serve(late)
    first, *others = late.records[0]
    padded = {f" {first} ": late.records[0][first]} | {n: late.records[0][n] for n in others}

    answers = [_post(client, {"dataframe_records": [row]}) for row in (late.records[0], padded)]
    twice = _post(client, {"dataframe_records": [padded | {first: 1}]})

    assert answers[1].status == 200, answers[1].body
    assert answers[0].json["predictions"] == answers[1].json["predictions"]
    assert twice.status == 400
    assert f"has '{first}' more than once" in twice.json["message"]


def test_an_absent_column_is_named_and_an_unknown_one_is_counted(serve, late):
    client = serve(late)
    row = {name: value for name, value in late.records[0].items() if name != "carrier"}

    absent = _post(client, {"dataframe_records": [row]})
    unknown = _post(client, {"dataframe_records": [late.records[0] | {"colour": "red"}]})

    assert absent.status == 400
    assert absent.json["error_code"] == "INVALID_PARAMETER_VALUE"
    assert absent.json["message"].startswith("The request has no 'carrier'")
    assert unknown.status == 200
    assert client.path.metrics.unknown_columns == 1


def test_a_missing_value_is_null_and_never_nan(serve, late):
    row = dict.fromkeys(late.records[0])

    answer = _post(serve(late), {"dataframe_records": [row], "params": {"output": "all"}})

    assert answer.status == 200
    assert 0 <= answer.json["predictions"][0]["probability"] <= 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "exactly one of dataframe_split, dataframe_records, instances, inputs, and has none"),
        ({"foo": 1}, "and has none of them"),
        ({"dataframe_records": [{}], "inputs": {"a": [1]}}, "dataframe_records and inputs"),
        ({"dataframe_records": 7}, "Expected `array | null`, got `int`"),
        ({"dataframe_records": [7]}, "Expected `object`, got `int`"),
        ({"dataframe_records": []}, "no rows"),
        ({"dataframe_records": [{}]}, "The request has no"),
        ({"instances": "NaN"}, "Expected `array | null`, got `str`"),
        ({"instances": [7]}, "instances[0] is 7, but a row is an object"),
        ({"instances": [{"a": 1}, [1]]}, "instances[1] is [1], but a row is an object"),
        ({"instances": [[1, 2]]}, "Row 0 has 2 values, and 9 columns are named"),
        ({"inputs": []}, "no rows"),
        ({"inputs": {}}, "no rows"),
        ({"inputs": {"carrier": [], "dest": []}}, "no rows"),
        ({"inputs": {"carrier": ["AA"], "dest": []}}, "they need the same number"),
        ({"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}, "'a' more than once"),
        ({"dataframe_split": {"columns": ["a"]}}, "missing required field `data`"),
        ({"dataframe_split": []}, "Expected `object | null`, got `array`"),
        ({"dataframe_records": [{}], "params": []}, "Expected `object | null`, got `array`"),
        ([[1, 2]], "Expected `object`, got `array`"),
    ],
)
def test_a_malformed_body_gets_a_400_that_says_what_is_wrong(serve, late, body, words):
    answer = _post(serve(late), body)

    assert answer.status == 400
    assert words in answer.json["message"]
    assert set(answer.json) == {"error_code", "message", "error"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{oops",
        b"\xff\xfe",
        b"null",
        b'{"instances":' + b"[" * 200_000,
        b'{"instances":[[NaN]]}',
        b'{"instances":[[Infinity]]}',
        b'{"dataframe_records":[{"distance":1e999}]}',
    ],
)
def test_a_hostile_body_gets_a_400(serve, late, raw):
    answer = _post(serve(late), raw, **{"content-type": "application/json"})

    assert answer.status == 400
    assert len(answer.body) < 2000


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n\n",
        b"carrier,dest\n",
        b"carrier\n\xff\n",
        b'carrier,dest\n"AA,\n',
        b"carrier,carrier\nAA,UA\n",
        b"carrier,dest\nAA\n",
        b"carrier\n" + b"x" * 200_000,
    ],
)
def test_a_broken_csv_gets_a_400(serve, late, text):
    answer = _post(serve(late), text, **{"content-type": "text/csv"})

    assert answer.status == 400
    assert answer.json["message"]
