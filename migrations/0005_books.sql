-- Runbooks under way: the whole run as a document, written before each step is
-- taken. `closed_ms` is set once its end was told, or is owed as a delivery.
CREATE TABLE books (
    run        TEXT PRIMARY KEY NOT NULL,
    command    TEXT NOT NULL,
    service    TEXT NOT NULL,
    instance   TEXT NOT NULL,
    document   TEXT NOT NULL,
    message    TEXT,
    begun_ms   BIGINT NOT NULL,
    closed_ms  BIGINT
);
CREATE INDEX books_open ON books (begun_ms) WHERE closed_ms IS NULL;
CREATE INDEX books_closed ON books (closed_ms) WHERE closed_ms IS NOT NULL;
