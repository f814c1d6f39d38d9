-- +goose Up
-- create "api_tokens" table
CREATE TABLE `api_tokens` (`id` uuid NOT NULL, `name` text NOT NULL DEFAULT (''), `scopes` json NOT NULL, `create_time` datetime NOT NULL, `expire_time` datetime NOT NULL, `revoke_time` datetime NULL, `user_id` uuid NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `api_tokens_users_api_tokens` FOREIGN KEY (`user_id`) REFERENCES `users` (`id`) ON DELETE CASCADE);
-- create index "apitoken_user_id" to table: "api_tokens"
CREATE INDEX `apitoken_user_id` ON `api_tokens` (`user_id`);
-- create index "apitoken_expire_time" to table: "api_tokens"
CREATE INDEX `apitoken_expire_time` ON `api_tokens` (`expire_time`);
-- create "creation_callbacks" table
CREATE TABLE `creation_callbacks` (`id` uuid NOT NULL, `callback_hash` blob NOT NULL, `expire_time` datetime NOT NULL, `room_id` uuid NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `creation_callbacks_rooms_creation_callbacks` FOREIGN KEY (`room_id`) REFERENCES `rooms` (`id`) ON DELETE CASCADE);
-- create index "creation_callbacks_callback_hash_key" to table: "creation_callbacks"
CREATE UNIQUE INDEX `creation_callbacks_callback_hash_key` ON `creation_callbacks` (`callback_hash`);
-- create index "creationcallback_expire_time" to table: "creation_callbacks"
CREATE INDEX `creationcallback_expire_time` ON `creation_callbacks` (`expire_time`);
-- create "idempotency_keys" table
CREATE TABLE `idempotency_keys` (`id` uuid NOT NULL, `caller` text NOT NULL, `request_id` uuid NOT NULL, `body_hash` blob NOT NULL, `response` blob NOT NULL, `create_time` datetime NOT NULL, PRIMARY KEY (`id`));
-- create index "idempotencykey_caller_request_id" to table: "idempotency_keys"
CREATE UNIQUE INDEX `idempotencykey_caller_request_id` ON `idempotency_keys` (`caller`, `request_id`);
-- create index "idempotencykey_create_time" to table: "idempotency_keys"
CREATE INDEX `idempotencykey_create_time` ON `idempotency_keys` (`create_time`);
-- create "live_tasks" table
CREATE TABLE `live_tasks` (`id` uuid NOT NULL, `kind` text NOT NULL, `room_id` uuid NULL, `user_id` uuid NULL, `keep_until` datetime NOT NULL, `next_time` datetime NOT NULL, `attempts` integer NOT NULL DEFAULT (0), `create_time` datetime NOT NULL, PRIMARY KEY (`id`));
-- create index "livetask_next_time" to table: "live_tasks"
CREATE INDEX `livetask_next_time` ON `live_tasks` (`next_time`);
-- create "members" table
CREATE TABLE `members` (`id` uuid NOT NULL, `email` text NULL, `role` integer NOT NULL, `create_time` datetime NOT NULL, `room_id` uuid NOT NULL, `user_id` uuid NULL, PRIMARY KEY (`id`), CONSTRAINT `members_rooms_members` FOREIGN KEY (`room_id`) REFERENCES `rooms` (`id`) ON DELETE CASCADE, CONSTRAINT `members_users_members` FOREIGN KEY (`user_id`) REFERENCES `users` (`id`) ON DELETE CASCADE, CONSTRAINT `members_pending` CHECK ((user_id IS NULL) <> (email IS NULL)), CONSTRAINT `members_role` CHECK (role BETWEEN 1 AND 3));
-- create index "member_room_id_user_id" to table: "members"
CREATE UNIQUE INDEX `member_room_id_user_id` ON `members` (`room_id`, `user_id`);
-- create index "member_room_id_email" to table: "members"
CREATE UNIQUE INDEX `member_room_id_email` ON `members` (`room_id`, `email`);
-- create index "member_user_id" to table: "members"
CREATE INDEX `member_user_id` ON `members` (`user_id`);
-- create index "member_email" to table: "members"
CREATE INDEX `member_email` ON `members` (`email`);
-- create "rooms" table
CREATE TABLE `rooms` (`id` uuid NOT NULL, `name` text NOT NULL, `name_key` text NOT NULL, `slug` text NOT NULL, `access_level` integer NOT NULL, `configuration` text NULL, `meeting` integer NOT NULL DEFAULT (0), `version` integer NOT NULL DEFAULT (1), `create_time` datetime NOT NULL, `update_time` datetime NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `rooms_access_level` CHECK (access_level BETWEEN 1 AND 3));
-- create index "rooms_slug_key" to table: "rooms"
CREATE UNIQUE INDEX `rooms_slug_key` ON `rooms` (`slug`);
-- create index "room_name_key_id" to table: "rooms"
CREATE INDEX `room_name_key_id` ON `rooms` (`name_key`, `id`);
-- create "schema_versions" table
CREATE TABLE `schema_versions` (`id` integer NOT NULL PRIMARY KEY AUTOINCREMENT, `oldest_usher` text NOT NULL);
-- create "users" table
CREATE TABLE `users` (`id` uuid NOT NULL, `sub` text NULL, `email` text NOT NULL DEFAULT (''), `email_verified` bool NOT NULL DEFAULT (false), `full_name` text NOT NULL DEFAULT (''), `short_name` text NOT NULL DEFAULT (''), `language` text NOT NULL DEFAULT (''), `timezone` text NOT NULL DEFAULT (''), `default_access_level` integer NOT NULL DEFAULT (0), `default_configuration` text NULL, `active` bool NOT NULL DEFAULT (true), `create_time` datetime NOT NULL, `update_time` datetime NOT NULL, PRIMARY KEY (`id`));
-- create index "users_sub_key" to table: "users"
CREATE UNIQUE INDEX `users_sub_key` ON `users` (`sub`);
-- create index "user_email" to table: "users"
CREATE INDEX `user_email` ON `users` (`email`);
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261122151346, '0.1.0');
