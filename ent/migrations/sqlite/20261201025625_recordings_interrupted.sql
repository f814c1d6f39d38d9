-- +goose Up
-- add column "lost_looks" to table: "recordings"
ALTER TABLE `recordings` ADD COLUMN `lost_looks` integer NULL;
-- add column "seen_in_meeting" to table: "recordings"
ALTER TABLE `recordings` ADD COLUMN `seen_in_meeting` bool NULL;
-- add column "interrupted" to table: "recordings"
ALTER TABLE `recordings` ADD COLUMN `interrupted` bool NULL;
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261201025625, '0.1.0');
