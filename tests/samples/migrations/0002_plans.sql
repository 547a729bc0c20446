-- Rows as they look after migration 2, for the migrations that follow to run on.
INSERT INTO plans VALUES ('7K2QABCD', '{"version":1}', '{}', NULL, NULL, 'pending', NULL, 1760000000000, 1760000900000);
INSERT INTO consents VALUES ('7K2QABCD', 'bo', '00ff', 1760000001000);
