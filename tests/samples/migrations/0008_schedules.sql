-- Rows as they look after migration 8, for the migrations that follow to run on.
INSERT INTO schedules VALUES ('backup shop 03:00', 1760000000000);
