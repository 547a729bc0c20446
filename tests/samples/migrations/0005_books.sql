-- Rows as they look after migration 5, for the migrations that follow to run on.
INSERT INTO books VALUES ('7K2QB00K', 'memory-emergency', 'shop', 'main', '{"version":1}', NULL, 1760000000000, NULL);
INSERT INTO books VALUES ('7K2QB00M', 'memory-emergency', 'shop', 'main', '{"version":1}', NULL, 1760000000000, 1760000100000);
