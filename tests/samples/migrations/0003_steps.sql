-- Rows as they look after migration 3, for the migrations that follow to run on.
INSERT INTO steps VALUES ('7K2QABCD', 0, 'done', 'read again: timeout is 60', 1760000002000);
INSERT INTO ends VALUES ('7K2QABCD', 1760001800000, 'waiting', NULL);
