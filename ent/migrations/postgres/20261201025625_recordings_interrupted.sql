-- +goose Up
-- modify "recordings" table
ALTER TABLE "recordings" ADD COLUMN "lost_looks" integer NULL, ADD COLUMN "seen_in_meeting" boolean NULL, ADD COLUMN "interrupted" boolean NULL;
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261201025625, '0.1.0');
