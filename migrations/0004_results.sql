-- Long answers as they were shown, whole, so that they can be read on without looking again.
CREATE TABLE results (
    run      TEXT PRIMARY KEY NOT NULL,
    version  BIGINT NOT NULL,
    document TEXT NOT NULL,
    size     BIGINT NOT NULL,
    at_ms    BIGINT NOT NULL
);
CREATE INDEX results_at ON results (at_ms);
