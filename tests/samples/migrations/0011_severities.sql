-- Rows as they look after migration 11, for the migrations that follow to run on.
INSERT INTO severities VALUES ('shop', 'SEV1', 'ana', 'logins fail', 1760000001000);
