-- The service's name as somebody typed it when they consented to a critical change.
ALTER TABLE consents ADD COLUMN typed TEXT;

-- What approvers were told of a plan that waits, each once: `what` is reminded or paged.
CREATE TABLE calls (
    run   TEXT NOT NULL REFERENCES plans (run) ON DELETE CASCADE,
    what  TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (run, what)
);

-- Plans somebody went on with alone.
CREATE TABLE breaks (
    run      TEXT PRIMARY KEY NOT NULL REFERENCES plans (run) ON DELETE CASCADE,
    person   TEXT NOT NULL,
    digest   TEXT NOT NULL,
    reason   TEXT NOT NULL,
    declared TEXT NOT NULL,
    at_ms    BIGINT NOT NULL
);

-- How bad people say it is with a service. The last word counts.
CREATE TABLE severities (
    service  TEXT PRIMARY KEY NOT NULL,
    severity TEXT NOT NULL,
    person   TEXT NOT NULL,
    reason   TEXT NOT NULL,
    at_ms    BIGINT NOT NULL
);

-- Stops of all changes; `service` is empty where it is of every service.
CREATE TABLE freezes (
    service TEXT PRIMARY KEY NOT NULL,
    person  TEXT NOT NULL,
    reason  TEXT NOT NULL,
    at_ms   BIGINT NOT NULL
);
