import errno
import gzip
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import polars as pl
import pytest
from ruamel.yaml import YAML
from sklearn.datasets import load_diabetes, load_digits, load_iris

from loopline.contract.load import idle, load
from loopline.contract.schema import Contract, Source
from loopline.data import row_sql
from loopline.data.conforming import conform
from loopline.data.sources.base import read
from loopline.errors import LooplineError, SourceError
from loopline.scaffold.create import create
from loopline.settings import Settings


@pytest.fixture(scope="module")
def customers() -> pl.DataFrame:
    """600 made-up customers with every oddity that a column can have."""
    rng = random.Random(3)
    rows = []
    for number in range(600):
        day = f"2024-{1 + number % 12:02d}-{1 + number % 28:02d}"
        age = rng.randint(18, 89)
        left = age / 90 + rng.gauss(0, 0.3) > 0.75
        rows.append(
            {
                "customer_id": f"C{number:05d}",
                "Created At": f"{day} {number % 24:02d}:30",
                "birth_date": f"19{50 + number % 50}-01-{1 + number % 28:02d}",
                "contact": f"u{number}@mail.example",
                "First Name": f"{rng.choice(['Ann', 'Zoë', 'Ida'])} {number % 97}",
                "age": age,
                "Größe / cm": round(rng.gauss(150, 8), 1),
                "income": f"{rng.uniform(500, 9000):,.2f}",
                "rate": f"{rng.random():.3f}".replace(".", ","),
                "visited": f"{1 + number % 28:02d}/{1 + number % 12:02d}/2024",
                "region": rng.choice(["nord", "süd", "?", "ost"]),
                "sex": rng.choice(["f", "m"]),
                "country": "NZ",
                "empty": "",
                "note": f"called {number} times",
                'it\'s "odd"': number % 5,
                "row": number,
                "score_after": round(left * 10 + rng.random(), 2),
                "churned": "yes" if left else "no",
            }
        )
    return pl.DataFrame(rows)


def new(tmp_path: Path, data: Path, target: str, **options: str) -> Contract:
    created = create("project", data, target, parent=tmp_path / "here", **options)
    return load(created.folder / "loopline.yaml")


def lines_of(tmp_path: Path) -> dict[str, str]:
    """Return the lines of the contract by the key they begin with."""
    text = (tmp_path / "here/project/loopline.yaml").read_text()
    return {
        line.strip().split(": ")[0].strip("\"'"): line for line in text.splitlines() if ": " in line
    }


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("c.csv", lambda frame, path: frame.write_csv(path)),
        ("c.tsv", lambda frame, path: frame.write_csv(path, separator="\t")),
        ("semicolon.csv", lambda frame, path: frame.write_csv(path, separator=";")),
        (
            "bom.csv",
            lambda frame, path: path.write_bytes(b"\xef\xbb\xbf" + frame.write_csv().encode()),
        ),
        ("latin.csv", lambda frame, path: path.write_bytes(frame.write_csv().encode("latin-1"))),
        (
            "c.csv.gz",
            lambda frame, path: path.write_bytes(gzip.compress(frame.write_csv().encode())),
        ),
        ("c.parquet", lambda frame, path: frame.write_parquet(path)),
        ("c.jsonl", lambda frame, path: frame.write_ndjson(path)),
    ],
)
def test_any_kind_of_file_gives_the_same_contract(
    tmp_path: Path, customers: pl.DataFrame, name: str, write: Callable[[pl.DataFrame, Path], None]
) -> None:
    path = tmp_path / name
    write(customers, path)

    contract = new(tmp_path, path, "churned")

    assert contract.problem.task == "binary"
    assert contract.problem.positive == "yes"
    assert contract.data.key == "customer_id"
    assert contract.data.time == "Created At"
    assert contract.data.split.by == "time"
    assert contract.data.features == {
        "weekday": 'extract(dow from "Created At")',
        "hour": 'extract(hour from "Created At")',
    }
    assert "?" in contract.data.missing
    columns = contract.data.columns
    assert [name for name, column in columns.items() if column.personal == "direct"] == [
        "contact",
        "First Name",
    ]
    assert [name for name, column in columns.items() if column.leaks] == ["score_after"]
    kept_out = {name for name, column in columns.items() if not column.feature}
    assert kept_out == {
        "customer_id", "income", "rate", "visited", "country", "empty", "note", "row",
    }  # fmt: skip
    assert columns["region"].categories == ["nord", "ost", "süd"]
    assert (columns["age"].type, columns["age"].minimum, columns["age"].maximum) == (
        "integer",
        18,
        89,
    )
    assert columns["sex"].personal == "indirect"
    assert idle(contract) == []


def test_every_guess_says_why(tmp_path: Path, customers: pl.DataFrame) -> None:
    customers.write_csv(tmp_path / "c.csv")
    new(tmp_path, tmp_path / "c.csv", "churned")
    lines = lines_of(tmp_path)

    for key, reason in {
        "task": "# the target has two values",
        "positive": "# the probability is of this one",
        "customer_id": "# names the row",
        "Created At": "# when a row happened",
        "contact": "# its values look like e-mail addresses",
        "First Name": "# called like something that names a person",
        "income": "# numbers with thousands separators, such as ",
        "rate": "# numbers with decimal commas, such as 0,",
        "visited": "# dates such as 01/01/2024: text here, since day and month could be either",
        "country": "# the same value in every row",
        "empty": "# missing in every row",
        "note": "# 600 different texts in 600 rows",
        "row": "# numbers the rows",
        "score_after": "# tells the target almost alone (AUC 0.99",
        "sex": "# describes a person",
        "split": "# the newest rows are the test",
    }.items():
        assert reason in lines[key], lines[key]


@pytest.mark.parametrize(
    ("loader", "task", "goal"),
    [
        (load_iris, "multiclass", "balanced_accuracy"),
        (load_digits, "multiclass", "balanced_accuracy"),
        (load_diabetes, "regression", "rmse"),
    ],
)
def test_the_task_is_concluded_from_the_target(
    tmp_path: Path, loader: Callable, task: str, goal: str
) -> None:
    loader(as_frame=True).frame.to_csv(tmp_path / "data.csv", index=False)

    contract = new(tmp_path, tmp_path / "data.csv", "target")

    assert contract.problem.task == task
    assert contract.goals[0].metric == goal
    assert not any(column.leaks for column in contract.data.columns.values())


def test_real_credit_data_reads_back_as_its_contract_says(
    tmp_path: Path, german_credit_csv: Path
) -> None:
    contract = new(tmp_path, german_credit_csv, "credit_risk")
    root = tmp_path / "here/project"

    conformed = conform(read(contract, root, Settings.read(root)), contract)

    assert conformed.failures == {}
    assert conformed.frame.height == 1000
    assert contract.data.columns["foreign_worker"].personal is None
    assert contract.data.columns["telephone"].personal is None  # yes or no, not a number to call
    assert contract.data.columns["personal_status_and_sex"].personal == "indirect"


def test_a_large_sample_of_the_census_is_understood(
    tmp_path: Path, census_income_csv: Path
) -> None:
    names = [f"c{number}" for number in range(42)]
    names[0], names[10], names[41] = "age", "race", "income"
    with census_income_csv.open() as source:
        rows = [line for _, line in zip(range(20_000), source, strict=False)]
    (tmp_path / "census.csv").write_text(",".join(names) + "\n" + "".join(rows))

    contract = new(tmp_path, tmp_path / "census.csv", "income")

    assert contract.problem.positive == "50000+."  # the rarer one
    assert "?" in contract.data.missing
    assert len(contract.data.columns) == 42
    assert contract.data.columns["age"].maximum == 90
    assert contract.data.columns["race"].personal == "indirect"
    assert [c for c in contract.data.columns.values() if c.leaks] == []


def test_the_schema_beside_the_contract_accepts_it(tmp_path: Path, customers: pl.DataFrame) -> None:
    customers.write_csv(tmp_path / "c.csv")
    created = create("project", tmp_path / "c.csv", "churned", parent=tmp_path)
    text = (created.folder / "loopline.yaml").read_text()
    schema = json.loads((created.folder / ".loopline/loopline.schema.json").read_text())

    assert text.startswith("# yaml-language-server: $schema=.loopline/loopline.schema.json\n")
    jsonschema.validate(YAML(typ="safe", pure=True).load(text), schema)


def test_data_beside_the_project_is_named_relative_to_it(
    tmp_path: Path, german_credit_csv: Path
) -> None:
    near, far = tmp_path / "here" / "data.csv", german_credit_csv
    near.parent.mkdir()
    shutil.copy(german_credit_csv, near)

    one = create("one", near, "credit_risk", parent=tmp_path / "here")
    two = create("two", far, "credit_risk", parent=tmp_path / "here")

    assert load(one.folder / "loopline.yaml").data.source == "../data.csv"
    assert load(two.folder / "loopline.yaml").data.source == str(far)


def test_an_unusual_delimiter_and_encoding_are_written_down(
    tmp_path: Path, customers: pl.DataFrame
) -> None:
    path = tmp_path / "c.csv"
    path.write_bytes(customers.write_csv(separator=";").encode("latin-1"))

    source = new(tmp_path, path, "churned").data.source

    assert isinstance(source, Source)
    assert source.delimiter == ";"
    assert source.encoding is not None
    assert "ü".encode(source.encoding) == b"\xfc"


def test_odd_column_names_survive_the_contract(tmp_path: Path) -> None:
    names = [
        "年齢",
        "a,b",
        "x: y",
        "#z",
        "- d",
        "{k}",
        "[0]",
        "*p",
        "&q",
        "!t",
        "%",
        "yes",
        "null",
        "1",
    ]
    names += [
        "quote'",
        'double"',
        "back\\slash",
        "tab\there",
        "new\nline",
        "no",
        "~",
        "a b ",
        "ünï",
    ]
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {name: rng.integers(0, 9, 90) for name in names} | {"y": rng.integers(0, 2, 90)}
    )
    frame.write_parquet(tmp_path / "odd.parquet")

    contract = new(tmp_path, tmp_path / "odd.parquet", "y")
    text = (tmp_path / "here/project/loopline.yaml").read_text()

    unprintable = {"tab\there", "new\nline"}
    assert set(contract.data.columns) == {*names, "y"} - unprintable
    assert '# "new\\nline" is left out' in text


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        ("", "y", "is empty"),
        ("a,b,y\n", "y", "no rows"),
        ("a,y\n1,\n2,\n", "y", "The target 'y' is missing in every row"),
        ("a,y\n1,3\n2,3\n", "y", "The target 'y' is '3' in every row|is 3 in every row"),
        ("a,churned\n1,0\n2,1\n", "chrned", "no column 'chrned'. Did you mean 'churned'"),
        (
            "a;y\n" + "".join(f"{n};{n},5\n" for n in range(60)),
            "y",
            "look like numbers.*decimal commas",
        ),
        ("a,y\n" + "".join(f"{n},text {n}\n" for n in range(60)), "y", "too many for classes"),
        (
            "a,y\n" + "".join(f"{n},2024-01-{n:02d}\n" for n in range(1, 30)),
            "y",
            "A time cannot be",
        ),
        ("id,y\n" + "".join(f"{n},{n % 2}\n" for n in range(60)), "y", "nothing to learn 'y' from"),
        ("y\n" + "0\n1\n" * 30, "y", "It is alone. Bring columns of numbers or categories"),
        ("a b  c y\n" + "1 2  3 4\n" * 60, "y", "not separated by a comma, semicolon, tab or bar"),
        ("Sales,,\n,,\na,b,y\n" + "1,2,3\n" * 60, "y", "must be the first: remove those above"),
        ("# of 2024\na,b,y\n" + "1,2,3\n" * 60, "y", "must be the first: remove those above"),
        (
            "a,y\n" + "1,0\n" * 60 + "2,1\n2,1\n",
            "y",
            "too few rows to learn and to judge.*one class",
        ),
        ("a,y\n1,2.5\n2,3.5\n", "y", "too few rows to learn and to judge"),
        ("a,y\n" + "1,true\n2,null\n" * 30, "y", "'true' in every row but the 30 that have none"),
        (
            "52,Rome,yes\n" + "33,Oslo,no\n" * 60,
            "churned",
            r"reads like values \(52\): put one with",
        ),
        ("a,a,y\n" + "1,2,3\n" * 60, "y", "names a more than once. Give each column a name"),
        (bytes(range(128, 256)) * 20, "y", "cannot be read|encoding|no column 'y'|but no rows"),
    ],
)
def test_data_that_cannot_be_learned_from_is_one_clear_error(
    tmp_path: Path, content: str | bytes, target: str, message: str
) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(SourceError, match=message):
        create("project", path, target, parent=tmp_path)

    assert not (tmp_path / "project").exists()


def test_a_file_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "customers.csv").write_text("a\n1\n")

    with pytest.raises(SourceError, match=r"There is no file .*Did you mean .*customers\.csv"):
        create("project", tmp_path / "custmers.csv", "a", parent=tmp_path)


@pytest.mark.parametrize("name", ["My Project", "../up", "a/b", "-x", "x" * 65, "ü", ""])
def test_a_name_that_is_none_is_refused_with_one_that_is(
    tmp_path: Path, german_credit_csv: Path, name: str
) -> None:
    with pytest.raises(
        LooplineError, match=r"cannot be a project's name.*Write for example [a-z0-9-]+\."
    ):
        create(name, german_credit_csv, "credit_risk", parent=tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_half_of_a_project(
    tmp_path: Path, german_credit_csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def fill_up(path: Path, text: str, **options: str) -> int:
        if path.name == "README.md":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", fill_up)
    with pytest.raises(OSError, match=r"No space left.*credit"):
        create("credit", german_credit_csv, "credit_risk", parent=tmp_path)
    monkeypatch.undo()

    assert list(tmp_path.iterdir()) == []
    create("credit", german_credit_csv, "credit_risk", parent=tmp_path)  # with room again


def test_a_folder_in_use_is_left_alone(tmp_path: Path, german_credit_csv: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    (tmp_path / "free").mkdir()

    with pytest.raises(LooplineError, match="is not empty"):
        create("taken", german_credit_csv, "credit_risk", parent=tmp_path)
    create("free", german_credit_csv, "credit_risk", parent=tmp_path)

    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["mine.txt"]


def test_the_task_may_be_said(tmp_path: Path, german_credit_csv: Path) -> None:
    contract = new(
        tmp_path,
        german_credit_csv,
        "installment_rate_in_percentage_of_disposable_income",
        task="regression",
    )

    assert contract.problem.task == "regression"
    with pytest.raises(SourceError, match="--task is binary, but the target 'job' has 4 values"):
        create("other", german_credit_csv, "job", task="binary", parent=tmp_path)
    with pytest.raises(SourceError, match="'housing' is no number"):
        create("other", german_credit_csv, "housing", task="regression", parent=tmp_path)


def test_an_identifier_that_repeats_keeps_its_rows_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "patient_id": [f"P{n // 4}" for n in range(400)],
            "dose": rng.normal(size=400),
            "cured": rng.integers(0, 2, 400),
        }
    )
    frame.write_csv(tmp_path / "visits.csv")

    contract = new(tmp_path, tmp_path / "visits.csv", "cured")

    assert (contract.data.split.by, contract.data.split.group) == ("group", "patient_id")
    assert contract.data.key is None
    assert not contract.data.columns["patient_id"].feature


def numbers(seed: int, count: int = 300) -> list[float]:
    return np.random.default_rng(seed).normal(size=count).round(3).tolist()


def kept_out(tmp_path: Path, name: str, values: list) -> str:
    """Return the line of a column beside one that a model can learn from."""
    frame = pl.DataFrame({"x": numbers(1), name: values, "y": [n % 2 for n in range(300)]})
    frame.write_csv(tmp_path / "c.csv")
    new(tmp_path, tmp_path / "c.csv", "y")
    return lines_of(tmp_path)[name]


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("paid", [f"${n}.50" for n in range(300)], "numbers with a sign, such as $0.50: text here"),
        ("share", [f"{n} %" for n in range(300)], "numbers with a sign, such as 0 %: text here"),
        (
            "seen",
            [f"Jan {1 + n % 28}, {2000 + n % 20}" for n in range(300)],
            "dates such as Jan 1, ",
        ),
        (
            "seen",
            [f"{1 + n % 28} March {2000 + n % 20}" for n in range(300)],
            "dates such as 1 Mar",
        ),
        ("day", [20240101 + n % 28 for n in range(300)], "dates such as 20240101: a number here"),
        (
            "timestamp",
            [1_704_067_200 + 3600 * n for n in range(300)],
            "seconds since 1970, such as",
        ),
        ("updated_at", [1_704_067_200_000 + n for n in numbers(1)], "milliseconds since 1970"),
        (
            "month",
            [f"{1990 + n // 12}-{1 + n % 12:02d}" for n in range(300)],
            "months such as 1990",
        ),
        (
            "seen",
            [f"2024-01-{1 + n % 28:02d} {1 + n % 12}:30 PM" for n in range(300)],
            "times such",
        ),
        ("column_1", [7 * n for n in range(300)], "called like an identifier"),
        ("rownames", [7 * n for n in range(300)], "called like an identifier"),
        ("vast", [1.7e308 * (-1) ** n for n in range(300)], "up to 1.7e+308: sums of such numbers"),
    ],
)
def test_what_no_model_should_learn_from_is_kept_out_with_its_reason(
    tmp_path: Path, name: str, values: list, reason: str
) -> None:
    line = kept_out(tmp_path, name, values)

    assert "feature: false" in line
    assert f"# {reason}" in line


def test_large_numbers_that_are_not_called_a_moment_reach_the_model(tmp_path: Path) -> None:
    line = kept_out(tmp_path, "turnover", [1_704_067_200 + 3600 * n for n in range(300)])

    assert "feature: false" not in line


def test_a_target_alone_with_its_time_is_learned_from_what_the_time_says(tmp_path: Path) -> None:
    moments = [f"2024-01-{1 + n // 24:02d} {n % 24:02d}:00" for n in range(480)]
    pl.DataFrame({"date": moments, "temp": [n % 24 for n in range(480)]}).write_csv(
        tmp_path / "c.csv"
    )

    contract = new(tmp_path, tmp_path / "c.csv", "temp")

    assert set(contract.data.features) == {"weekday", "hour"}
    assert [name for name, column in contract.data.columns.items() if column.type != "time"] == [
        "temp"
    ]


def test_plain_decimals_beside_words_are_not_said_to_have_thousands_separators(
    tmp_path: Path,
) -> None:
    line = kept_out(tmp_path, "x2", [f"0.{n}" if n % 25 else f"low {n}" for n in range(300)])

    assert "# 300 different texts" in line


def test_columns_that_no_contract_can_speak_of_are_left_out_with_the_reason(
    tmp_path: Path,
) -> None:
    frame = pl.DataFrame(
        {"Id": numbers(1), "tags": [["a"]] * 300, "bytes": [b"a"] * 300, "ID": numbers(2),
         "x": numbers(3), "place": [{"lat": 1.0}] * 300, "id": [n % 2 for n in range(300)]}
    )  # fmt: skip
    frame.write_parquet(tmp_path / "c.parquet")

    contract = new(tmp_path, tmp_path / "c.parquet", "id")

    assert list(contract.data.columns) == ["x", "id"]
    text = (tmp_path / "here/project/loopline.yaml").read_text()
    assert '# "Id" is left out: differs from id in case alone: rename it' in text
    assert '# "tags" is left out: it holds lists, objects or bytes' in text
    with pytest.raises(SourceError, match="target 'tags' cannot be predicted: it holds lists"):
        create("other", tmp_path / "c.parquet", "tags", parent=tmp_path)


@pytest.mark.parametrize(
    "name", ["when", "order", "date", "timestamp", "end", "interval", "Date 1"]
)
def test_a_time_called_as_sql_speaks_still_gives_its_features(tmp_path: Path, name: str) -> None:
    days = [f"2024-{1 + n // 28:02d}-{1 + n % 28:02d}" for n in range(300)]
    frame = pl.DataFrame({"x": numbers(1), name: days, "y": [n % 2 for n in range(300)]})
    frame.write_csv(tmp_path / "c.csv")

    contract = new(tmp_path, tmp_path / "c.csv", "y")

    expression = row_sql.parse(contract.data.features["weekday"], {name: "time"})
    assert expression.columns == (name,)


def test_where_the_only_columns_tell_the_target_they_stay_with_a_word(tmp_path: Path) -> None:
    x = numbers(1)
    pl.DataFrame({"celsius": x, "f": [32 + 1.8 * c for c in x]}).write_csv(tmp_path / "c.csv")

    contract = new(tmp_path, tmp_path / "c.csv", "f")

    assert not contract.data.columns["celsius"].leaks
    assert (
        "# tells the target almost alone (R² 1.000): known only afterwards? Then add"
        in (lines_of(tmp_path)["celsius"])
    )


@pytest.mark.parametrize(
    ("column", "values", "positive"),
    [
        ("day", [f"2024-01-{1 + n // 300:02d}" for n in range(600)], lambda n: n % 2),
        ("day", [f"2024-01-{1 + n // 25:02d}" for n in range(600)], lambda n: n < 400 and n % 2),
        ("shop_id", [f"s{n // 8}" for n in range(600)], lambda n: n // 8 in (3, 40)),
    ],
)
def test_a_split_whose_parts_would_lack_rows_or_a_class_is_not_chosen(
    tmp_path: Path, column: str, values: list[str], positive: Callable[[int], int]
) -> None:
    x = numbers(1, 600)
    y = [int(positive(n)) for n in range(600)]
    pl.DataFrame({"x": x, column: values, "y": y}).write_csv(tmp_path / "c.csv")
    spread = [f"2024-01-{1 + n // 25:02d}" for n in range(600)] if column == "day" else values
    even = pl.DataFrame({"x": x, column: spread, "y": [n % 2 for n in range(600)]})
    even.write_csv(tmp_path / "even.csv")

    contract = new(tmp_path, tmp_path / "c.csv", "y")
    other = create("even", tmp_path / "even.csv", "y", parent=tmp_path).guesses

    assert contract.data.split.by == "stratified"
    assert other.split["by"] == {"day": "time", "shop_id": "group"}[column]


def test_a_huge_target_is_looked_at_without_overflow(tmp_path: Path) -> None:
    x = numbers(1)
    pl.DataFrame({"x": x, "y": [1e300 * c for c in x]}).write_csv(tmp_path / "c.csv")

    contract = new(tmp_path, tmp_path / "c.csv", "y")

    assert contract.problem.task == "regression"


def test_space_around_names_is_no_part_of_them(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("x , y\n" + "1,0\n2,1\n" * 40)

    assert new(tmp_path, tmp_path / "c.csv", " y").problem.target == "y"
