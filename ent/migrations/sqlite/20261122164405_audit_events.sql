-- +goose Up
-- create "audit_events" table
CREATE TABLE `audit_events` (`id` integer NOT NULL PRIMARY KEY AUTOINCREMENT, `create_time` datetime NOT NULL, `room_id` uuid NOT NULL, `actor_user_id` uuid NULL, `action` text NOT NULL, `target` text NOT NULL DEFAULT (''), `detail` text NOT NULL DEFAULT (''));
-- create index "auditevent_room_id_id" to table: "audit_events"
CREATE INDEX `auditevent_room_id_id` ON `audit_events` (`room_id`, `id`);
-- create index "auditevent_create_time" to table: "audit_events"
CREATE INDEX `auditevent_create_time` ON `audit_events` (`create_time`);
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261122164405, '0.1.0');
