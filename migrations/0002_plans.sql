-- Changes: the plan as it was shown, where it was shown, and how far it has come.
-- `state`: pending, claimed (being checked, nothing changed yet), running
-- (something may have changed), then done, failed, void, declined or uncertain.
CREATE TABLE plans (
    run        TEXT PRIMARY KEY NOT NULL,
    document   TEXT NOT NULL,
    place      TEXT NOT NULL,
    message    TEXT,
    message_id TEXT,
    state      TEXT NOT NULL,
    note       TEXT,
    made_ms    BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX plans_open ON plans (state) WHERE state IN ('pending', 'claimed', 'running');
CREATE INDEX plans_message ON plans (message_id);

-- Who consented to which plan: a person once, whichever account they spoke from.
CREATE TABLE consents (
    run    TEXT NOT NULL REFERENCES plans (run) ON DELETE CASCADE,
    person TEXT NOT NULL,
    digest TEXT NOT NULL,
    at_ms  BIGINT NOT NULL,
    PRIMARY KEY (run, person)
);
