import assert from "node:assert/strict";
import { test } from "node:test";
import { timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { bestColumns } from "../src/call/grid.ts";
import { holdsCallers, isHeld } from "../src/call/held.ts";
import { serverMessage } from "../src/call/server-messages.ts";
import { roomIn } from "../src/rooms.ts";
import { addressesIn, endsAfterItBegins, nextHour, recurrenceRule, repeatOf, timesIn, timesOf } from "../src/schedule.ts";

const caller = (attributes: Record<string, string> = {}) => ({ kind: 3, attributes });
const metadata = (access: string, phonePolicy?: string) =>
  JSON.stringify({ access_level: access, configuration: phonePolicy ? { phonePolicy } : {} });

test("callers who wait are held, and nobody else", () => {
  const restricted = metadata("ACCESS_LEVEL_RESTRICTED");
  for (const [what, person, room, held] of [
    ["a person with a browser", { kind: 0, attributes: {} }, restricted, false],
    ["a person with a browser who pretends", { kind: 0, attributes: { lobby: "waiting" } }, restricted, false],
    ["a caller who waits", caller({ lobby: "waiting" }), restricted, true],
    ["a caller who was let in", caller({ lobby: "admitted" }), restricted, false],
    ["a caller without a word about it, in a room with a lobby", caller(), restricted, true],
    ["a caller with another word", caller({ lobby: "perhaps" }), metadata("ACCESS_LEVEL_PUBLIC"), true],
    ["a caller in an open room", caller(), metadata("ACCESS_LEVEL_PUBLIC"), false],
    ["a caller in an open room that holds callers", caller(), metadata("ACCESS_LEVEL_PUBLIC", "PHONE_POLICY_LOBBY"), true],
    ["a caller in a closed room that does not", caller(), metadata("ACCESS_LEVEL_RESTRICTED", "PHONE_POLICY_DIRECT"), false],
    ["a caller in a room without metadata", caller(), undefined, true],
    ["a caller in a room with broken metadata", caller(), "{", true],
  ] as const) {
    assert.equal(isHeld(person, room), held, what);
  }
  assert.equal(holdsCallers("null"), true);
});

test("server messages have a topic and no sender", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const waiting = bytes('{"type":"participantWaiting"}');
  assert.deepEqual(serverMessage(waiting, undefined, "usher"), { type: "participantWaiting" });
  assert.equal(serverMessage(waiting, { identity: "p_1" }, "usher"), undefined, "somebody in the meeting pretends");
  assert.equal(serverMessage(waiting, undefined, "lk.chat"), undefined);
  assert.equal(serverMessage(waiting, undefined, undefined), undefined);
  assert.equal(serverMessage(bytes("{"), undefined, "usher"), undefined);
  assert.equal(serverMessage(bytes("null"), undefined, "usher"), undefined);
  assert.equal(serverMessage(bytes('{"type":1}'), undefined, "usher"), undefined);
});

test("codes, paths and links name rooms", () => {
  const origin = "https://meet.example.org";
  for (const [typed, want] of [
    ["abc-defg-hij", "abc-defg-hij"],
    ["  weekly ", "weekly"],
    ["/weekly/", "weekly"],
    ["https://meet.example.org/weekly", "weekly"],
    ["https://meet.example.org/weekly?x=1#y", "weekly"],
    ["meet.example.org/weekly", "weekly"],
    ["Café du coin", "Café du coin"],
    ["https://elsewhere.example/weekly", undefined],
    ["elsewhere.example/weekly", undefined],
    ["https://meet.example.org/", undefined],
    ["https://meet.example.org/recording/1", undefined],
    ["javascript://meet.example.org/%0aalert(1)", undefined],
    ["%", undefined],
    ["", undefined],
  ] as const) {
    assert.equal(roomIn(typed, origin), want, typed);
  }
});

test("tiles are as large as they can be", () => {
  for (const [n, width, height, want] of [
    [1, 1600, 900, 1],
    [2, 1600, 900, 2],
    [2, 400, 900, 1],
    [4, 1600, 900, 2],
    [9, 1600, 900, 3],
    [3, 390, 700, 1],
  ] as const) {
    assert.equal(bestColumns(n, width, height), want, `${n} in ${width} × ${height}`);
  }
});

test("a rule is read as the choice that it was made of, and any other one is kept", () => {
  for (const repeat of ["never", "daily", "weekly", "biweekly", "monthly"] as const) {
    const rule = recurrenceRule({ repeat, times: 7, rule: "" });
    const read = repeatOf(rule);
    assert.equal(read.repeat, repeat);
    assert.equal(recurrenceRule(read), rule);
  }
  assert.equal(repeatOf("COUNT=3;FREQ=WEEKLY").repeat, "weekly", "in any order");
  for (const rule of ["FREQ=WEEKLY;BYDAY=MO,WE;COUNT=3", "FREQ=DAILY;UNTIL=20270101T000000Z", "FREQ=DAILY;COUNT=400"]) {
    const read = repeatOf(rule);
    assert.equal(read.repeat, "other", rule);
    assert.equal(recurrenceRule(read), rule);
  }
});

test("the times of a meeting survive the form", () => {
  const [start, end] = [new Date("2027-03-28T00:30:00Z"), new Date("2027-03-28T02:00:00Z")];
  const form = timesIn(timestampFromDate(start), timestampFromDate(end), "FREQ=DAILY;COUNT=2");
  const said = timesOf(form);
  assert.deepEqual(
    [timestampDate(said.startTime), timestampDate(said.endTime), said.recurrence],
    [start, end, "FREQ=DAILY;COUNT=2"],
  );
  assert.ok(endsAfterItBegins(form));
  assert.ok(!endsAfterItBegins({ ...form, end: form.start }) && !endsAfterItBegins({ ...form, end: "" }));
  assert.ok(endsAfterItBegins(nextHour(new Date())));
});

test("addresses are found in what people paste, each once", () => {
  assert.deepEqual(addressesIn(" a@x.example, <B@x.example>;b@x.example\nc@x.example "), [
    "a@x.example",
    "b@x.example",
    "c@x.example",
  ]);
  assert.deepEqual(addressesIn(" ,; "), []);
});
