"""What the names and the look of values say about a column: a person, an identifier, an event."""

import re

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_A-Za-z]+")
_NAMELESS = re.compile(r"column_1|Unnamed: \d+|__index_level_\d+__|rownames|X\.?")
_IDENTIFIER = {
    "id",
    "ids",
    "key",
    "uuid",
    "guid",
    "nr",
    "no",
    "number",
    "code",
    "index",
    "identifier",
}
_EVENT = ["event", "created", "ordered", "order", "start", "started", "timestamp", "time", "date"]
_MOMENT = {"timestamp", "time", "date", "datetime", "ts", "epoch", "unix", "created", "at"}
_BIRTH = {"birth", "birthday", "birthdate", "dob", "born"}
_DIRECT = {
    "email", "mail", "phone", "telephone", "mobile", "cellphone", "fax", "surname", "firstname",
    "lastname", "fullname", "forename", "ssn", "passport", "iban", "address", "street", "ip",
}  # fmt: skip
_NAMED = {
    "first", "last", "full", "middle", "given", "family", "maiden", "nick", "customer", "client",
    "patient", "user", "employee", "passenger", "person", "contact", "student", "member",
}  # fmt: skip
_INDIRECT = {
    "sex", "gender", "race", "ethnicity", "religion", "nationality", "disability", "zip", "zipcode",
    "postcode", "postal",
}  # fmt: skip
VALUE_PATTERNS = {
    "e-mail addresses": r"^[^@\s]+@[^@\s]+\.[^@\s.]+$",
    "phone numbers": r"^(\+|00|\()[\d\s()./-]{7,20}$|^\d{3}[-. ]\d{3}[-. ]\d{4}$",
    "bank accounts (IBAN)": r"^[A-Z]{2}\d{2} ?([A-Z0-9]{4} ?){2,7}[A-Z0-9]{1,4}$",
    "IP addresses": r"^(\d{1,3}\.){3}\d{1,3}$",
    "street addresses": r"^\d+\w? +\p{L}.* (St|Street|Ave|Avenue|Rd|Road|Lane|Ln|Blvd|Drive|Dr)\b",
}
"""Regular expressions (Rust's syntax, as polars takes them) of values that name a person."""


def words(name: str) -> list[str]:
    """Return the words of a column's name: `firstName`, `first_name` and `First Name` alike."""
    return [word.lower() for word in _WORD.findall(name)]


def is_identifier(name: str) -> bool:
    """Whether a column is called as identifiers are."""
    found = words(name)
    return bool(found) and found[-1] in _IDENTIFIER


def is_nameless(name: str) -> bool:
    """Whether a column has the name that tools give to an index without one."""
    return _NAMELESS.fullmatch(name) is not None


def event_rank(name: str) -> int | None:
    """Return how well a name fits the time of an event, 0 best; None for the time of a birth."""
    found = words(name)
    if _BIRTH & set(found):
        return None
    return next((rank for rank, word in enumerate(_EVENT) if word in found), len(_EVENT))


def tells_a_moment(name: str) -> bool:
    """Whether a column is called as moments are, such as `timestamp` or `updated_at`."""
    return bool(_MOMENT & set(words(name)))


def names_a_person(name: str) -> bool:
    """Whether a column is called as names, addresses and numbers of people are."""
    found = words(name)
    if _DIRECT & set(found):
        return True
    if found[-1:] not in (["name"], ["names"]):
        return False
    return len(found) == 1 or bool(_NAMED & set(found[:-1]))


def describes_a_person(name: str) -> bool:
    """Whether a column is called after a trait that people may not be judged by."""
    return bool((_INDIRECT | _BIRTH) & set(words(name)))
