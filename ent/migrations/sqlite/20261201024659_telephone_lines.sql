-- +goose Up
-- disable the enforcement of foreign-keys constraints
PRAGMA foreign_keys = off;
-- create "new_trunks" table
CREATE TABLE `new_trunks` (`id` text NOT NULL, `room_count` integer NOT NULL DEFAULT (0), `alarm_time` datetime NULL, `numbers` text NOT NULL DEFAULT (''), `livekit_id` text NOT NULL DEFAULT (''), PRIMARY KEY (`id`), CONSTRAINT `trunks_room_count` CHECK (room_count >= 0));
-- copy rows from old table "trunks" to new temporary table "new_trunks"
INSERT INTO `new_trunks` (`id`, `room_count`, `alarm_time`) SELECT `id`, `room_count`, `alarm_time` FROM `trunks`;
-- drop "trunks" table after copying rows
DROP TABLE `trunks`;
-- rename temporary table "new_trunks" to "trunks"
ALTER TABLE `new_trunks` RENAME TO `trunks`;
-- enable back the enforcement of foreign-keys constraints
PRAGMA foreign_keys = on;
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261201024659, '0.1.0');
