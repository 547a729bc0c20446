-- Rows as they look after migration 10, for the migrations that follow to run on.
INSERT INTO steps (run, seq, state, note, at_ms, aside, aside_why)
VALUES ('7K2QABCD', 1, 'failed', 'the server did not answer', 1760000003000, 300, 'the server did not answer');
