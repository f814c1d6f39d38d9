-- +goose Up
-- create "recordings" table
CREATE TABLE "recordings" ("id" uuid NOT NULL, "room_id" uuid NOT NULL, "room_name" character varying NOT NULL DEFAULT '', "mode" integer NOT NULL, "status" integer NOT NULL, "language" character varying NOT NULL DEFAULT '', "object_key" character varying NOT NULL, "egress_id" character varying NULL, "size_bytes" bigint NOT NULL DEFAULT 0, "duration_ms" bigint NOT NULL DEFAULT 0, "failure_reason" integer NOT NULL DEFAULT 0, "failure_detail" character varying NOT NULL DEFAULT '', "keep" boolean NOT NULL DEFAULT false, "create_time" timestamptz NOT NULL, "start_time" timestamptz NULL, "stop_time" timestamptz NULL, "save_time" timestamptz NULL, "end_time" timestamptz NULL, "lost_time" timestamptz NULL, "delete_time" timestamptz NULL, "purge_time" timestamptz NULL, PRIMARY KEY ("id"), CONSTRAINT "recordings_mode" CHECK ((mode >= 1) AND (mode <= 2)), CONSTRAINT "recordings_status" CHECK ((status >= 1) AND (status <= 9)));
-- create index "recording_purge_time" to table: "recordings"
CREATE INDEX "recording_purge_time" ON "recordings" ("purge_time");
-- create index "recording_room_id_create_time" to table: "recordings"
CREATE INDEX "recording_room_id_create_time" ON "recordings" ("room_id", "create_time");
-- create index "recording_status" to table: "recordings"
CREATE INDEX "recording_status" ON "recordings" ("status");
-- create index "recordings_object_key_key" to table: "recordings"
CREATE UNIQUE INDEX "recordings_object_key_key" ON "recordings" ("object_key");
-- create index "recordings_one_per_room" to table: "recordings"
CREATE UNIQUE INDEX "recordings_one_per_room" ON "recordings" ("room_id") WHERE (status = ANY (ARRAY[1, 2, 8]));
-- create "recording_accesses" table
CREATE TABLE "recording_accesses" ("id" uuid NOT NULL, "email" character varying NULL, "role" integer NOT NULL, "notify_time" timestamptz NULL, "create_time" timestamptz NOT NULL, "recording_id" uuid NOT NULL, "user_id" uuid NULL, PRIMARY KEY ("id"), CONSTRAINT "recording_accesses_recordings_accesses" FOREIGN KEY ("recording_id") REFERENCES "recordings" ("id") ON UPDATE NO ACTION ON DELETE CASCADE, CONSTRAINT "recording_accesses_users_recording_accesses" FOREIGN KEY ("user_id") REFERENCES "users" ("id") ON UPDATE NO ACTION ON DELETE CASCADE, CONSTRAINT "recording_accesses_pending" CHECK ((user_id IS NULL) <> (email IS NULL)), CONSTRAINT "recording_accesses_role" CHECK ((role >= 1) AND (role <= 3)));
-- create index "recordingaccess_email" to table: "recording_accesses"
CREATE INDEX "recordingaccess_email" ON "recording_accesses" ("email");
-- create index "recordingaccess_recording_id_email" to table: "recording_accesses"
CREATE UNIQUE INDEX "recordingaccess_recording_id_email" ON "recording_accesses" ("recording_id", "email");
-- create index "recordingaccess_recording_id_user_id" to table: "recording_accesses"
CREATE UNIQUE INDEX "recordingaccess_recording_id_user_id" ON "recording_accesses" ("recording_id", "user_id");
-- create index "recordingaccess_user_id" to table: "recording_accesses"
CREATE INDEX "recordingaccess_user_id" ON "recording_accesses" ("user_id");
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261122181156, '0.1.0');
