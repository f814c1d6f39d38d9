-- +goose Up
-- modify "trunks" table
ALTER TABLE "trunks" ADD COLUMN "numbers" text NOT NULL DEFAULT '', ADD COLUMN "livekit_id" character varying NOT NULL DEFAULT '';
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261201024659, '0.1.0');
