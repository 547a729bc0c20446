-- Rows as they look after migration 7, for the migrations that follow to run on.
INSERT INTO calls VALUES ('7K2QABCD', 'reminded', 1760000000000);
INSERT INTO breaks VALUES ('7K2QABCD', 'ana', 'abc', 'the shop is down', 'SEV1 by cy', 1760000000000);
INSERT INTO severities VALUES ('shop', 'SEV1', 'cy', 'nobody can log in', 1760000000000);
INSERT INTO freezes VALUES ('', 'bo', 'a migration goes on', 1760000000000);
