-- Events a chat platform was told are taken, until they have been handled: what a crash cut off is found here.
-- `document` is the event in the gateway's words, without tokens and response URLs.
CREATE TABLE arrivals (
    event    TEXT PRIMARY KEY NOT NULL,
    platform TEXT NOT NULL,
    kind     TEXT NOT NULL,
    document TEXT NOT NULL,
    at_ms    BIGINT NOT NULL,
    taken_up BIGINT NOT NULL,
    saying   BIGINT NOT NULL
);

-- When a delivery that cannot be found again was begun; unset once it is known what became of it.
ALTER TABLE owed ADD COLUMN sending_ms BIGINT;
