-- +goose Up
-- modify "invitations" table
ALTER TABLE "invitations" ADD COLUMN "revoke_time" timestamptz NULL;
-- modify "users" table
ALTER TABLE "users" ADD COLUMN "deactivate_time" timestamptz NULL;
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261201023746, '0.1.0');
