-- Counts of six hours, a day and a week, beside those of hours. A span without a payload is open.

CREATE TABLE spans (
    project TEXT NOT NULL,
    environment TEXT NOT NULL,
    version BIGINT NOT NULL,
    hours BIGINT NOT NULL,
    start BIGINT NOT NULL,
    payload BLOB,
    PRIMARY KEY (project, environment, version, hours, start)
);
CREATE INDEX open_spans ON spans (project, hours, start) WHERE payload IS NULL;

-- An hour has 3,600,000,000 microseconds. Known outcomes are moved about, and are in no span.
INSERT INTO spans (project, environment, version, hours, start, payload)
SELECT DISTINCT project, environment, version, length.hours,
    hour / (length.hours * 3600000000) * length.hours * 3600000000, CAST(NULL AS BLOB)
FROM counts, (SELECT 6 AS hours UNION SELECT 24 UNION SELECT 168) AS length
WHERE slice NOT IN ('scored 00', 'scored 01', 'scored 10', 'scored 11', 'confusion');
