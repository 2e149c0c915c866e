-- The ledger, and what is kept in rows beside it.

CREATE TABLE events (
    project TEXT NOT NULL,
    number BIGINT NOT NULL,
    at TEXT NOT NULL,
    actor TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    payload TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (project, number)
);
CREATE INDEX events_by_kind ON events (project, kind, number);

CREATE TABLE runs (
    id TEXT NOT NULL PRIMARY KEY,
    project TEXT NOT NULL,
    started_at TEXT NOT NULL,
    payload TEXT NOT NULL
);
CREATE INDEX runs_by_start ON runs (project, started_at);

CREATE TABLE counts (
    project TEXT NOT NULL,
    environment TEXT NOT NULL,
    version BIGINT NOT NULL,
    hour BIGINT NOT NULL,
    "column" TEXT NOT NULL,
    slice TEXT NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (project, environment, version, hour, "column", slice)
);

CREATE TABLE folded (
    segment TEXT NOT NULL PRIMARY KEY,
    "offset" BIGINT NOT NULL
);

CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    until BIGINT NOT NULL
);

CREATE TABLE mirrored (
    run TEXT NOT NULL PRIMARY KEY,
    "where" TEXT NOT NULL,
    at TEXT NOT NULL
);
