"""Quiet hours: when people are not told what can wait, such as `22:00-07:00 Australia/Sydney`."""

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

_WRITTEN = re.compile(r"\s*(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})(?:\s+([A-Za-z0-9_+/-]+))?\s*")


@dataclass(frozen=True)
class Quiet:
    """Daily from `start` to `end`, by the clock of `zone`; over midnight where `end` is first."""

    start: time
    end: time
    zone: str = "UTC"

    @classmethod
    def parse(cls, value: object) -> "Quiet":
        """Read `22:00-07:00` (UTC) or `22:00-07:00 Australia/Sydney`.

        Raises:
            ValueError: it is none of these; the message says what it should be.
        """
        if isinstance(value, Quiet):
            return value
        match = _WRITTEN.fullmatch(str(value))
        if match is None:
            raise ValueError("quiet hours are written 22:00-07:00, with a time zone after them")
        first, minute, last, past, zone = match.groups(default="UTC")
        if max(int(first), int(last)) > 23 or max(int(minute), int(past)) > 59:
            raise ValueError("a time of day lies between 00:00 and 23:59")
        start, end = time(int(first), int(minute)), time(int(last), int(past))
        if start == end:
            raise ValueError("quiet hours that begin when they end never begin, or never end")
        if zone not in available_timezones():
            raise ValueError(f"there is no time zone {zone!r}. Write one such as Europe/Berlin")
        return cls(start, end, zone)

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M} {self.zone}"

    def holds(self, now: datetime) -> bool:
        """Return whether `now` lies in them; they end at `end`, without that minute."""
        here = now.astimezone(ZoneInfo(self.zone)).time()
        if self.start < self.end:
            return self.start <= here < self.end
        return here >= self.start or here < self.end

    def ends(self, now: datetime) -> datetime:
        """Return when those that hold at `now` end."""
        here = now.astimezone(ZoneInfo(self.zone))
        ending = here.replace(
            hour=self.end.hour, minute=self.end.minute, second=0, microsecond=0, fold=0
        )
        return ending if ending > here else ending + timedelta(days=1)
