-- +goose Up
-- modify "live_tasks" table
ALTER TABLE "live_tasks" ADD COLUMN "meeting_sid" character varying NULL;
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261122164928, '0.1.0');
