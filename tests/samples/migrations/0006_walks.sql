-- Rows as they look after migration 6, for the migrations that follow to run on.
INSERT INTO walks VALUES ('shop/main bigkeys 127.0.0.1:6379', 1760000000000, x'28b52ffd');
