-- +goose Up
-- create "recordings" table
CREATE TABLE `recordings` (`id` uuid NOT NULL, `room_id` uuid NOT NULL, `room_name` text NOT NULL DEFAULT (''), `mode` integer NOT NULL, `status` integer NOT NULL, `language` text NOT NULL DEFAULT (''), `object_key` text NOT NULL, `egress_id` text NULL, `size_bytes` integer NOT NULL DEFAULT (0), `duration_ms` integer NOT NULL DEFAULT (0), `failure_reason` integer NOT NULL DEFAULT (0), `failure_detail` text NOT NULL DEFAULT (''), `keep` bool NOT NULL DEFAULT (false), `create_time` datetime NOT NULL, `start_time` datetime NULL, `stop_time` datetime NULL, `save_time` datetime NULL, `end_time` datetime NULL, `lost_time` datetime NULL, `delete_time` datetime NULL, `purge_time` datetime NULL, PRIMARY KEY (`id`), CONSTRAINT `recordings_mode` CHECK (mode BETWEEN 1 AND 2), CONSTRAINT `recordings_status` CHECK (status BETWEEN 1 AND 9));
-- create index "recordings_object_key_key" to table: "recordings"
CREATE UNIQUE INDEX `recordings_object_key_key` ON `recordings` (`object_key`);
-- create index "recordings_one_per_room" to table: "recordings"
CREATE UNIQUE INDEX `recordings_one_per_room` ON `recordings` (`room_id`) WHERE status IN (1, 2, 8);
-- create index "recording_status" to table: "recordings"
CREATE INDEX `recording_status` ON `recordings` (`status`);
-- create index "recording_purge_time" to table: "recordings"
CREATE INDEX `recording_purge_time` ON `recordings` (`purge_time`);
-- create index "recording_room_id_create_time" to table: "recordings"
CREATE INDEX `recording_room_id_create_time` ON `recordings` (`room_id`, `create_time`);
-- create "recording_accesses" table
CREATE TABLE `recording_accesses` (`id` uuid NOT NULL, `email` text NULL, `role` integer NOT NULL, `notify_time` datetime NULL, `create_time` datetime NOT NULL, `recording_id` uuid NOT NULL, `user_id` uuid NULL, PRIMARY KEY (`id`), CONSTRAINT `recording_accesses_recordings_accesses` FOREIGN KEY (`recording_id`) REFERENCES `recordings` (`id`) ON DELETE CASCADE, CONSTRAINT `recording_accesses_users_recording_accesses` FOREIGN KEY (`user_id`) REFERENCES `users` (`id`) ON DELETE CASCADE, CONSTRAINT `recording_accesses_pending` CHECK ((user_id IS NULL) <> (email IS NULL)), CONSTRAINT `recording_accesses_role` CHECK (role BETWEEN 1 AND 3));
-- create index "recordingaccess_recording_id_user_id" to table: "recording_accesses"
CREATE UNIQUE INDEX `recordingaccess_recording_id_user_id` ON `recording_accesses` (`recording_id`, `user_id`);
-- create index "recordingaccess_recording_id_email" to table: "recording_accesses"
CREATE UNIQUE INDEX `recordingaccess_recording_id_email` ON `recording_accesses` (`recording_id`, `email`);
-- create index "recordingaccess_user_id" to table: "recording_accesses"
CREATE INDEX `recordingaccess_user_id` ON `recording_accesses` (`user_id`);
-- create index "recordingaccess_email" to table: "recording_accesses"
CREATE INDEX `recordingaccess_email` ON `recording_accesses` (`email`);
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261122181156, '0.1.0');
