-- In which hours a business key occurs: what new outcomes by key are joined with.

CREATE TABLE keyed (
    project TEXT NOT NULL,
    kind TEXT NOT NULL,
    name BIGINT NOT NULL,
    hour BIGINT NOT NULL
);
CREATE INDEX keyed_by_name ON keyed (name);
