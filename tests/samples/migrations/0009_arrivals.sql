-- Rows as they look after migration 9, for the migrations that follow to run on.
INSERT INTO arrivals VALUES ('slack-13.7', 'slack', 'slash_commands', '{"command":"/redis","text":"status shop"}', 1760000000000, 0, 0);
