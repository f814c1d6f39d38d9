-- +goose Up
-- create "invitations" table
CREATE TABLE `invitations` (`id` uuid NOT NULL, `room_id` uuid NOT NULL, `room_name` text NOT NULL, `address` text NOT NULL, `open_key` text NULL, `language` text NOT NULL DEFAULT (''), `inviter_language` text NOT NULL DEFAULT (''), `status` integer NOT NULL, `response` integer NOT NULL DEFAULT (0), `skip_lobby` bool NOT NULL DEFAULT (false), `message` text NOT NULL DEFAULT (''), `start_time` datetime NULL, `end_time` datetime NULL, `timezone` text NOT NULL DEFAULT (''), `recurrence` text NOT NULL DEFAULT (''), `sequence` integer NOT NULL DEFAULT (0), `token_hash` blob NOT NULL, `token_sealed` blob NULL, `identity` text NOT NULL, `admissions` integer NOT NULL DEFAULT (0), `send_time` datetime NULL, `expire_time` datetime NOT NULL, `create_time` datetime NOT NULL, `update_time` datetime NOT NULL, `inviter_id` uuid NULL, PRIMARY KEY (`id`), CONSTRAINT `invitations_users_invitations` FOREIGN KEY (`inviter_id`) REFERENCES `users` (`id`) ON DELETE SET NULL, CONSTRAINT `invitations_open` CHECK ((open_key IS NULL) = (status IN (4, 5))), CONSTRAINT `invitations_response` CHECK (response BETWEEN 0 AND 3), CONSTRAINT `invitations_schedule` CHECK ((start_time IS NULL) = (end_time IS NULL)), CONSTRAINT `invitations_status` CHECK (status BETWEEN 1 AND 5));
-- create index "invitations_open_key_key" to table: "invitations"
CREATE UNIQUE INDEX `invitations_open_key_key` ON `invitations` (`open_key`);
-- create index "invitations_token_hash_key" to table: "invitations"
CREATE UNIQUE INDEX `invitations_token_hash_key` ON `invitations` (`token_hash`);
-- create index "invitation_room_id_create_time_id" to table: "invitations"
CREATE INDEX `invitation_room_id_create_time_id` ON `invitations` (`room_id`, `create_time`, `id`);
-- create index "invitation_inviter_id" to table: "invitations"
CREATE INDEX `invitation_inviter_id` ON `invitations` (`inviter_id`);
-- create index "invitation_address" to table: "invitations"
CREATE INDEX `invitation_address` ON `invitations` (`address`);
-- create index "invitation_expire_time" to table: "invitations"
CREATE INDEX `invitation_expire_time` ON `invitations` (`expire_time`);
-- create "invitation_letters" table
CREATE TABLE `invitation_letters` (`id` uuid NOT NULL, `kind` text NOT NULL, `sequence` integer NOT NULL, `state` text NOT NULL DEFAULT ('queued'), `code` integer NOT NULL DEFAULT (0), `create_time` datetime NOT NULL, `end_time` datetime NULL, `invitation_id` uuid NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `invitation_letters_invitations_letters` FOREIGN KEY (`invitation_id`) REFERENCES `invitations` (`id`) ON DELETE CASCADE);
-- create index "invitationletter_invitation_id_state" to table: "invitation_letters"
CREATE INDEX `invitationletter_invitation_id_state` ON `invitation_letters` (`invitation_id`, `state`);
-- create "mail_quota" table
CREATE TABLE `mail_quota` (`id` uuid NOT NULL, `key` text NOT NULL, `day` text NOT NULL, `used` integer NOT NULL DEFAULT (0), PRIMARY KEY (`id`));
-- create index "mailquota_key_day" to table: "mail_quota"
CREATE UNIQUE INDEX `mailquota_key_day` ON `mail_quota` (`key`, `day`);
-- create index "mailquota_day" to table: "mail_quota"
CREATE INDEX `mailquota_day` ON `mail_quota` (`day`);
-- create "mail_suppressions" table
CREATE TABLE `mail_suppressions` (`id` uuid NOT NULL, `address_hash` blob NOT NULL, `create_time` datetime NOT NULL, PRIMARY KEY (`id`));
-- create index "mail_suppressions_address_hash_key" to table: "mail_suppressions"
CREATE UNIQUE INDEX `mail_suppressions_address_hash_key` ON `mail_suppressions` (`address_hash`);
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261122192229, '0.1.0');
