-- Keys a step left under another name, until they have their own again or are removed: how many at most,
-- 0 where nobody could count them, NULL where none is. `aside_why` is why that could not be done yet.
ALTER TABLE steps ADD COLUMN aside BIGINT;
ALTER TABLE steps ADD COLUMN aside_why TEXT;
CREATE INDEX steps_aside ON steps (run) WHERE aside IS NOT NULL;
