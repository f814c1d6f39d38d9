-- +goose Up
-- create "mail_quota" table
CREATE TABLE "mail_quota" ("id" uuid NOT NULL, "key" character varying NOT NULL, "day" character varying NOT NULL, "used" bigint NOT NULL DEFAULT 0, PRIMARY KEY ("id"));
-- create index "mailquota_day" to table: "mail_quota"
CREATE INDEX "mailquota_day" ON "mail_quota" ("day");
-- create index "mailquota_key_day" to table: "mail_quota"
CREATE UNIQUE INDEX "mailquota_key_day" ON "mail_quota" ("key", "day");
-- create "mail_suppressions" table
CREATE TABLE "mail_suppressions" ("id" uuid NOT NULL, "address_hash" bytea NOT NULL, "create_time" timestamptz NOT NULL, PRIMARY KEY ("id"));
-- create index "mail_suppressions_address_hash_key" to table: "mail_suppressions"
CREATE UNIQUE INDEX "mail_suppressions_address_hash_key" ON "mail_suppressions" ("address_hash");
-- create "invitations" table
CREATE TABLE "invitations" ("id" uuid NOT NULL, "room_id" uuid NOT NULL, "room_name" character varying NOT NULL, "address" character varying NOT NULL, "open_key" character varying NULL, "language" character varying NOT NULL DEFAULT '', "inviter_language" character varying NOT NULL DEFAULT '', "status" integer NOT NULL, "response" integer NOT NULL DEFAULT 0, "skip_lobby" boolean NOT NULL DEFAULT false, "message" character varying NOT NULL DEFAULT '', "start_time" timestamptz NULL, "end_time" timestamptz NULL, "timezone" character varying NOT NULL DEFAULT '', "recurrence" character varying NOT NULL DEFAULT '', "sequence" bigint NOT NULL DEFAULT 0, "token_hash" bytea NOT NULL, "token_sealed" bytea NULL, "identity" character varying NOT NULL, "admissions" integer NOT NULL DEFAULT 0, "send_time" timestamptz NULL, "expire_time" timestamptz NOT NULL, "create_time" timestamptz NOT NULL, "update_time" timestamptz NOT NULL, "inviter_id" uuid NULL, PRIMARY KEY ("id"), CONSTRAINT "invitations_users_invitations" FOREIGN KEY ("inviter_id") REFERENCES "users" ("id") ON UPDATE NO ACTION ON DELETE SET NULL, CONSTRAINT "invitations_open" CHECK ((open_key IS NULL) = (status = ANY (ARRAY[4, 5]))), CONSTRAINT "invitations_response" CHECK ((response >= 0) AND (response <= 3)), CONSTRAINT "invitations_schedule" CHECK ((start_time IS NULL) = (end_time IS NULL)), CONSTRAINT "invitations_status" CHECK ((status >= 1) AND (status <= 5)));
-- create index "invitation_address" to table: "invitations"
CREATE INDEX "invitation_address" ON "invitations" ("address");
-- create index "invitation_expire_time" to table: "invitations"
CREATE INDEX "invitation_expire_time" ON "invitations" ("expire_time");
-- create index "invitation_inviter_id" to table: "invitations"
CREATE INDEX "invitation_inviter_id" ON "invitations" ("inviter_id");
-- create index "invitation_room_id_create_time_id" to table: "invitations"
CREATE INDEX "invitation_room_id_create_time_id" ON "invitations" ("room_id", "create_time", "id");
-- create index "invitations_open_key_key" to table: "invitations"
CREATE UNIQUE INDEX "invitations_open_key_key" ON "invitations" ("open_key");
-- create index "invitations_token_hash_key" to table: "invitations"
CREATE UNIQUE INDEX "invitations_token_hash_key" ON "invitations" ("token_hash");
-- create "invitation_letters" table
CREATE TABLE "invitation_letters" ("id" uuid NOT NULL, "kind" character varying NOT NULL, "sequence" bigint NOT NULL, "state" character varying NOT NULL DEFAULT 'queued', "code" bigint NOT NULL DEFAULT 0, "create_time" timestamptz NOT NULL, "end_time" timestamptz NULL, "invitation_id" uuid NOT NULL, PRIMARY KEY ("id"), CONSTRAINT "invitation_letters_invitations_letters" FOREIGN KEY ("invitation_id") REFERENCES "invitations" ("id") ON UPDATE NO ACTION ON DELETE CASCADE);
-- create index "invitationletter_invitation_id_state" to table: "invitation_letters"
CREATE INDEX "invitationletter_invitation_id_state" ON "invitation_letters" ("invitation_id", "state");
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261122192229, '0.1.0');
