-- Rows as they look after migration 4, for the migrations that follow to run on.
INSERT INTO results VALUES ('7K2QABCE', 1, '{"version":1}', 13, 1760000000000);
