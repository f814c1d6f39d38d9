-- +goose Up
-- create "participant_states" table
CREATE TABLE `participant_states` (`id` uuid NOT NULL, `subject` text NOT NULL, `meeting` integer NOT NULL, `display_name` text NULL, `name_by_host` bool NOT NULL DEFAULT (false), `restrict_sources` bool NOT NULL DEFAULT (false), `sources` json NULL, `can_subscribe` bool NOT NULL DEFAULT (true), `block_until` datetime NULL, `expire_time` datetime NOT NULL, `room_id` uuid NOT NULL, `user_id` uuid NULL, PRIMARY KEY (`id`), CONSTRAINT `participant_states_rooms_participant_states` FOREIGN KEY (`room_id`) REFERENCES `rooms` (`id`) ON DELETE CASCADE, CONSTRAINT `participant_states_users_participant_states` FOREIGN KEY (`user_id`) REFERENCES `users` (`id`) ON DELETE CASCADE);
-- create index "participantstate_room_id_subject" to table: "participant_states"
CREATE UNIQUE INDEX `participantstate_room_id_subject` ON `participant_states` (`room_id`, `subject`);
-- create index "participantstate_user_id" to table: "participant_states"
CREATE INDEX `participantstate_user_id` ON `participant_states` (`user_id`);
-- create index "participantstate_expire_time" to table: "participant_states"
CREATE INDEX `participantstate_expire_time` ON `participant_states` (`expire_time`);
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261122165909, '0.1.0');
