-- +goose Up
-- add column "deactivate_time" to table: "users"
ALTER TABLE `users` ADD COLUMN `deactivate_time` datetime NULL;
-- add column "revoke_time" to table: "invitations"
ALTER TABLE `invitations` ADD COLUMN `revoke_time` datetime NULL;
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261201023746, '0.1.0');
