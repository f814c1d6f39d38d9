-- +goose Up
-- add column "meeting_sid" to table: "rooms"
ALTER TABLE `rooms` ADD COLUMN `meeting_sid` text NULL;
-- add column "meeting_since" to table: "rooms"
ALTER TABLE `rooms` ADD COLUMN `meeting_since` datetime NULL;
-- create "meeting_lives" table
CREATE TABLE `meeting_lives` (`id` text NOT NULL, `start_time` datetime NOT NULL, `over` bool NOT NULL DEFAULT (false), `create_time` datetime NOT NULL, `room_id` uuid NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `meeting_lives_rooms_lives` FOREIGN KEY (`room_id`) REFERENCES `rooms` (`id`) ON DELETE CASCADE);
-- create index "meetinglife_over_create_time" to table: "meeting_lives"
CREATE INDEX `meetinglife_over_create_time` ON `meeting_lives` (`over`, `create_time`);
-- create index "meetinglife_room_id" to table: "meeting_lives"
CREATE INDEX `meetinglife_room_id` ON `meeting_lives` (`room_id`);
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261122184456, '0.1.0');
