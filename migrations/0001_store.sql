-- The journal: who ran what with which result. Rows are chained: `mac` is an
-- HMAC over the row and the mac of the row before it. `seq` has no gaps.
CREATE TABLE journal (
    seq      INTEGER PRIMARY KEY NOT NULL,
    at_ms    BIGINT NOT NULL,
    kind     TEXT NOT NULL,
    run      TEXT NOT NULL,
    platform TEXT NOT NULL,
    team     TEXT NOT NULL,
    account  TEXT NOT NULL,
    person   TEXT,
    channel  TEXT NOT NULL,
    thread   TEXT,
    line     TEXT NOT NULL,
    command  TEXT NOT NULL,
    service  TEXT,
    instance TEXT,
    outcome  TEXT NOT NULL,
    why      TEXT,
    level    TEXT,
    took_ms  BIGINT NOT NULL,
    reveal   BIGINT NOT NULL,
    mac      BLOB NOT NULL
);

-- One row: where the chain ends, signed, so that a cut tail shows.
CREATE TABLE journal_head (
    id           BIGINT PRIMARY KEY NOT NULL CHECK (id = 1),
    seq          BIGINT NOT NULL,
    mac          BLOB NOT NULL,
    key_id       TEXT NOT NULL,
    signature    BLOB NOT NULL,
    anchored_seq BIGINT NOT NULL,
    anchored_ms  BIGINT NOT NULL
);

-- One row: where retention cut the chain, signed, so that the rest stays verifiable.
CREATE TABLE journal_cut (
    id        BIGINT PRIMARY KEY NOT NULL CHECK (id = 1),
    seq       BIGINT NOT NULL,
    mac       BLOB NOT NULL,
    signature BLOB NOT NULL
);

-- Events of chat platforms that were taken; a redelivery is not a second run.
CREATE TABLE seen (
    event TEXT PRIMARY KEY NOT NULL,
    at_ms BIGINT NOT NULL
);

-- What a diagnostic measured: one row a look, the figures as a JSON object of numbers.
CREATE TABLE figures (
    id       INTEGER PRIMARY KEY NOT NULL,
    service  TEXT NOT NULL,
    instance TEXT NOT NULL,
    command  TEXT NOT NULL,
    at_ms    BIGINT NOT NULL,
    healthy  BIGINT NOT NULL,
    figures  TEXT NOT NULL
);
CREATE INDEX figures_of ON figures (service, instance, command, at_ms);
CREATE INDEX figures_at ON figures (at_ms);

-- Messages, edits and reactions that were decided; `done_ms` is set once delivered or given up.
CREATE TABLE owed (
    id       INTEGER PRIMARY KEY NOT NULL,
    key      TEXT NOT NULL UNIQUE,
    lane     TEXT NOT NULL,
    kind     TEXT NOT NULL,
    version  BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    document TEXT NOT NULL,
    made_ms  BIGINT NOT NULL,
    due_ms   BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    trouble  TEXT,
    done_ms  BIGINT,
    message  TEXT
);
CREATE INDEX owed_waiting ON owed (lane, id) WHERE done_ms IS NULL;
