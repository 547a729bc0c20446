-- Rows as they look after migration 1, for the migrations that follow to run on.
INSERT INTO journal VALUES (1, 1760000000000, 'command', '7K2QABCD', 'slack', 'T1', 'U1', 'ada', 'C1', NULL, 'status', 'status', 'prospectflow', 'main', 'answered', NULL, 'ok', 12, 0, x'00');
INSERT INTO journal_head VALUES (1, 1, x'00', 'abcd', x'00', 0, 0);
INSERT INTO journal_cut VALUES (1, 0, x'00', x'00');
INSERT INTO seen VALUES ('Ev1', 1760000000000);
INSERT INTO figures (service, instance, command, at_ms, healthy, figures) VALUES ('prospectflow', 'main', 'status', 1760000000000, 1, '{"memory":0.5}');
INSERT INTO owed (key, lane, kind, version, revision, document, made_ms, due_ms, attempts) VALUES ('7K2QABCD/end', 'slack:T1/C1', 'react', 1, 1, '{}', 1760000000000, 1760000000000, 0);
