-- +goose Up
-- add column "meeting_sid" to table: "live_tasks"
ALTER TABLE `live_tasks` ADD COLUMN `meeting_sid` text NULL;
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261122164928, '0.1.0');
