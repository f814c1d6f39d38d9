-- +goose Up
-- create "dispatch_rules" table
CREATE TABLE `dispatch_rules` (`id` uuid NOT NULL, `rule_id` text NOT NULL DEFAULT (''), `trunk_id` text NOT NULL DEFAULT (''), `pin_id` uuid NULL, `held` bool NOT NULL DEFAULT (false), `doubtful` bool NOT NULL DEFAULT (false), `lease` uuid NULL, `lease_until` datetime NULL, PRIMARY KEY (`id`));
-- create index "dispatchrule_doubtful" to table: "dispatch_rules"
CREATE INDEX `dispatchrule_doubtful` ON `dispatch_rules` (`doubtful`) WHERE rule_id <> '' OR doubtful;
-- create "pins" table
CREATE TABLE `pins` (`id` uuid NOT NULL, `trunk_id` text NOT NULL, `pin` text NOT NULL, `rest_until` datetime NULL, `create_time` datetime NOT NULL, `room_id` uuid NULL, PRIMARY KEY (`id`), CONSTRAINT `pins_rooms_pin` FOREIGN KEY (`room_id`) REFERENCES `rooms` (`id`) ON DELETE SET NULL);
-- create index "pins_room_id_key" to table: "pins"
CREATE UNIQUE INDEX `pins_room_id_key` ON `pins` (`room_id`);
-- create index "pin_trunk_id_pin" to table: "pins"
CREATE UNIQUE INDEX `pin_trunk_id_pin` ON `pins` (`trunk_id`, `pin`);
-- create index "pin_rest_until" to table: "pins"
CREATE INDEX `pin_rest_until` ON `pins` (`rest_until`);
-- create index "pin_left_behind" to table: "pins"
CREATE INDEX `pin_left_behind` ON `pins` (`create_time`) WHERE room_id IS NULL AND rest_until IS NULL;
-- create "trunks" table
CREATE TABLE `trunks` (`id` text NOT NULL, `room_count` integer NOT NULL DEFAULT (0), `alarm_time` datetime NULL, PRIMARY KEY (`id`), CONSTRAINT `trunks_room_count` CHECK (room_count >= 0));
-- the oldest Usher that may run on this schema
INSERT INTO schema_versions (id, oldest_usher) VALUES (20261122181815, '0.1.0');
