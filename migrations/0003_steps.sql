-- The steps of a run, each written before it is done: `state` is begun, then
-- done, failed or uncertain, and undone when a later failure took it back.
CREATE TABLE steps (
    run   TEXT NOT NULL REFERENCES plans (run) ON DELETE CASCADE,
    seq   BIGINT NOT NULL,
    state TEXT NOT NULL,
    note  TEXT,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (run, seq)
);

-- Changes made for a while: when they take themselves back. `state` is
-- waiting, begun, then done or failed.
CREATE TABLE ends (
    run    TEXT PRIMARY KEY NOT NULL REFERENCES plans (run) ON DELETE CASCADE,
    due_ms BIGINT NOT NULL,
    state  TEXT NOT NULL,
    note   TEXT
);
CREATE INDEX ends_open ON ends (due_ms) WHERE state IN ('waiting', 'begun');
