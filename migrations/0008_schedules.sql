-- What is done by the clock: when each schedule was last taken up, so that a restart neither repeats nor forgets one.
CREATE TABLE schedules (
    name     TEXT PRIMARY KEY NOT NULL,
    taken_ms BIGINT NOT NULL
);
