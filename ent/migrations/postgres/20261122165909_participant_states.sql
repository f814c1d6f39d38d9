-- +goose Up
-- create "participant_states" table
CREATE TABLE "participant_states" ("id" uuid NOT NULL, "subject" character varying NOT NULL, "meeting" bigint NOT NULL, "display_name" character varying NULL, "name_by_host" boolean NOT NULL DEFAULT false, "restrict_sources" boolean NOT NULL DEFAULT false, "sources" jsonb NULL, "can_subscribe" boolean NOT NULL DEFAULT true, "block_until" timestamptz NULL, "expire_time" timestamptz NOT NULL, "room_id" uuid NOT NULL, "user_id" uuid NULL, PRIMARY KEY ("id"), CONSTRAINT "participant_states_rooms_participant_states" FOREIGN KEY ("room_id") REFERENCES "rooms" ("id") ON UPDATE NO ACTION ON DELETE CASCADE, CONSTRAINT "participant_states_users_participant_states" FOREIGN KEY ("user_id") REFERENCES "users" ("id") ON UPDATE NO ACTION ON DELETE CASCADE);
-- create index "participantstate_expire_time" to table: "participant_states"
CREATE INDEX "participantstate_expire_time" ON "participant_states" ("expire_time");
-- create index "participantstate_room_id_subject" to table: "participant_states"
CREATE UNIQUE INDEX "participantstate_room_id_subject" ON "participant_states" ("room_id", "subject");
-- create index "participantstate_user_id" to table: "participant_states"
CREATE INDEX "participantstate_user_id" ON "participant_states" ("user_id");
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261122165909, '0.1.0');
