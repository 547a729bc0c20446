-- Walks over a keyspace that were stopped, so that the same question goes on from there.
-- `question` says of what and where; `document` is a packed checkpoint, which holds names of keys.
CREATE TABLE walks (
    question TEXT PRIMARY KEY NOT NULL,
    at_ms    BIGINT NOT NULL,
    document BLOB NOT NULL
);
