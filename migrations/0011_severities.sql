-- How bad people say it is with a service: those who agree stand side by side, so that nobody's word hides another's.
CREATE TABLE said_severities (
    service  TEXT NOT NULL,
    severity TEXT NOT NULL,
    person   TEXT NOT NULL,
    reason   TEXT NOT NULL,
    at_ms    BIGINT NOT NULL,
    PRIMARY KEY (service, person)
);
INSERT INTO said_severities SELECT service, severity, person, reason, at_ms FROM severities;
DROP TABLE severities;
ALTER TABLE said_severities RENAME TO severities;
