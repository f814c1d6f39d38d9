-- +goose Up
-- create "periodic_works" table
CREATE TABLE "periodic_works" ("id" character varying NOT NULL, "next_time" timestamptz NOT NULL, "lease_time" timestamptz NOT NULL, "holder" uuid NOT NULL, PRIMARY KEY ("id"));
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261122182213, '0.1.0');
