import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import {
  AccessLevel,
  Code,
  createUsherClient,
  Decision,
  EntryStatus,
  ErrorReason,
  JoinMode,
  Role,
  UsherError,
} from "@usher-meet/client";
import { Usher } from "../../testing/usher.js";

/** @type {Usher} */
let usher;
/** @type {import("@usher-meet/client").UsherClient} */
let host;
/** @type {import("@usher-meet/client").UsherClient} */
let guest;

/** @type {(() => unknown)[]} */
const cleanups = [];
before(async () => {
  usher = await Usher.start({ after: (fn) => cleanups.unshift(fn) });
  host = createUsherClient({ baseUrl: usher.url, token: () => usher.token });
  guest = createUsherClient({ baseUrl: usher.url });
});
after(async () => {
  for (const clean of cleanups) await clean();
});

/** @param {string} name */
async function restrictedRoom(name) {
  const { room } = await host.rooms.createRoom({ name, accessLevel: AccessLevel.RESTRICTED });
  assert.ok(room);
  return room;
}

/**
 * The error that a call fails with.
 * @param {() => Promise<unknown>} call
 */
async function refusal(call) {
  try {
    await call();
  } catch (thrown) {
    assert.ok(thrown instanceof UsherError, `thrown: ${thrown}`);
    return thrown;
  }
  throw new assert.AssertionError({ message: "the call succeeded" });
}

/**
 * The first value that fits.
 * @template T
 * @param {AsyncIterable<T>} values
 * @param {(value: T) => boolean} fits
 */
async function first(values, fits) {
  for await (const value of values) if (fits(value)) return value;
  throw new assert.AssertionError({ message: "the stream ended before" });
}

test("calls and their types", async () => {
  const room = await restrictedRoom("Weekly");
  assert.equal(room.myRole, Role.OWNER);
  const seen = await guest.rooms.getRoom({ room: room.slug });
  assert.equal(seen.room?.joinMode, JoinMode.LOBBY);
  assert.equal(seen.room?.configuration, undefined, "a stranger does not see the configuration");
  const { connection } = await host.rooms.joinRoom({ room: room.id, displayName: "Ada" });
  assert.match(connection?.serverUrl ?? "", /^ws:/);
  // The session token speaks for the participant and nobody else.
  const self = host.as(connection?.sessionToken);
  assert.equal((await self.rooms.renewConnection({})).connection?.participantIdentity, connection?.participantIdentity);
  assert.equal((await refusal(() => self.rooms.listRooms({}))).code, Code.Unauthenticated);
});

test("errors say why, in types", async () => {
  const none = await refusal(() => guest.rooms.getRoom({ room: "no-such-room" }));
  assert.equal(none.reason, "ROOM_NOT_FOUND");
  assert.equal(none.code, Code.NotFound);
  assert.ok(!none.temporary && !none.unreachable);

  const anonymous = await refusal(() => guest.rooms.createRoom({ name: "Mine" }));
  assert.equal(anonymous.reason, "SIGN_IN_REQUIRED");

  const malformed = await refusal(() => host.rooms.createRoom({ name: "x".repeat(501), requestId: "not a UUID" }));
  assert.equal(malformed.reason, "INVALID_REQUEST");
  assert.deepEqual(malformed.violations.map((v) => v.field).sort(), ["name", "request_id"]);

  const room = await restrictedRoom("Of one owner");
  const { user } = await host.users.getMe({});
  const last = await refusal(() =>
    host.rooms.removeMember({ room: room.id, identifier: { case: "userId", value: user?.id ?? "" } }),
  );
  assert.equal(last.reason, "LAST_OWNER");
  const taken = await refusal(() => host.rooms.createRoom({ name: "Again", slug: room.slug }));
  assert.equal(taken.reason, "ROOM_SLUG_TAKEN");
  assert.equal(taken.about.slug, room.slug);
});

test("every reason of the contract is known", () => {
  assert.ok(Object.keys(ErrorReason).length > 60);
});

test("what is no answer of Usher", async () => {
  const port = createServer((_, response) => response.end("<html>a captive portal</html>"));
  await new Promise((resolve) => port.listen(0, "127.0.0.1", () => resolve(undefined)));
  const address = /** @type {import("node:net").AddressInfo} */ (port.address());
  const portal = createUsherClient({ baseUrl: `http://127.0.0.1:${address.port}` });
  assert.equal((await refusal(() => portal.config.getConfig({}))).reason, undefined);
  await new Promise((resolve) => port.close(resolve));
  const nobody = await refusal(() => portal.config.getConfig({}));
  assert.ok(nobody.unreachable && nobody.temporary, String(nobody));
});

test("a guest knocks, the host sees them and lets them in", async () => {
  const room = await restrictedRoom("Knocking");
  const left = new AbortController();
  const waiting = host.watchWaiting(room.id, { signal: left.signal });
  /** @type {string[]} */
  const tickets = [];
  const entry = guest.enter(room.slug, { displayName: "Bob", onTicket: (t) => tickets.push(t) });
  const asked = (await entry.next()).value;
  assert.equal(asked?.status, EntryStatus.WAITING);
  assert.equal(tickets.length, 1);

  const snapshot = await first(waiting, (s) => s.entries.length === 1);
  const [seen] = snapshot.entries;
  assert.equal(seen?.displayName, "Bob");
  assert.equal(seen?.ticket, "", "hosts get no ticket");
  await host.lobby.decideEntry({ room: room.id, entryId: seen?.id ?? "", etag: seen?.etag ?? "", decision: Decision.ALLOW });
  const admitted = await first(entry, (e) => e.status !== EntryStatus.WAITING);
  assert.equal(admitted.status, EntryStatus.ACCEPTED);
  assert.ok(admitted.connection?.token);
  assert.equal((await entry.next()).done, true, "nothing comes after the decision");
  left.abort();
});

test("whoever may enter is in at once", async () => {
  const room = await restrictedRoom("Mine");
  /** @type {EntryStatus[]} */
  const seen = [];
  for await (const entry of host.enter(room.id, { displayName: "Ada" })) seen.push(entry.status);
  assert.deepEqual(seen, [EntryStatus.ACCEPTED]);
});

test("the place survives a restart of the server", async () => {
  const room = await restrictedRoom("Restarted");
  /** @type {string[]} */
  const states = [];
  /** @type {string[]} */
  const tickets = [];
  const entry = guest.enter(room.slug, {
    displayName: "Carol",
    onState: (s) => states.push(s),
    onTicket: (t) => tickets.push(t),
  });
  const before_ = (await entry.next()).value;
  const live = entry.next(); // the stream opens: its first message is the entry again
  await live;
  await usher.stop();
  await usher.start();
  const pending = entry.next();
  const after_ = (await pending).value;
  assert.equal(after_?.id, before_?.id);
  assert.equal(after_?.status, EntryStatus.WAITING);
  assert.deepEqual(after_?.requestTime, before_?.requestTime);
  assert.deepEqual(states, ["connecting", "live", "reconnecting", "live"]);
  await entry.return(undefined);

  // A page that was loaded anew goes on with the ticket that it kept.
  const again = guest.enter(room.slug, { ticket: tickets.at(-1) ?? "" });
  assert.equal((await again.next()).value?.id, before_?.id);
  await again.return(undefined);
});

test("leaving a loop ends the request", async () => {
  const room = await restrictedRoom("Left");
  let open = 0;
  /** @type {typeof fetch} */
  const counting = async (input, init) => {
    const url = String(input);
    if (!url.includes("/Watch")) return fetch(input, init);
    open++;
    init?.signal?.addEventListener("abort", () => open--, { once: true });
    return fetch(input, init);
  };
  const watching = createUsherClient({ baseUrl: usher.url, token: () => usher.token, fetch: counting });
  for await (const snapshot of watching.watchWaiting(room.id)) {
    assert.equal(snapshot.entries.length, 0);
    assert.equal(open, 1);
    break;
  }
  assert.equal(open, 0, "after break");
  const left = new AbortController();
  await assert.rejects(async () => {
    for await (const _ of watching.watchWaiting(room.id, { signal: left.signal })) left.abort(new Error("left"));
  }, /left/);
  assert.equal(open, 0, "after abort");
});

test("a stream that is not allowed ends with the reason", async () => {
  const room = await restrictedRoom("Private");
  const error = await refusal(() => guest.watchWaiting(room.id).next());
  assert.equal(error.reason, "SIGN_IN_REQUIRED");
});

test("the lines of the README work", () => {
  const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
  const code = /```js\n([\s\S]*?)```/.exec(readme)?.[1];
  assert.ok(code);
  const lines = code
    .trim()
    .split("\n")
    .filter((line) => line.trim() !== "" && !line.startsWith("//"));
  assert.equal(lines.length, 10, "ten lines are promised");
  const file = new URL("readme.generated.mjs", import.meta.url);
  try {
    writeFileSync(file, code);
    const printed = execFileSync(process.execPath, [file.pathname], {
      env: { ...process.env, USHER_URL: usher.url, USHER_TOKEN: usher.token },
      encoding: "utf8",
      timeout: 60_000,
    });
    assert.match(printed, /Grace is in\n$/);
  } finally {
    rmSync(file, { force: true });
  }
});

test("the package is clean", () => {
  const listed = JSON.parse(
    execFileSync("npm", ["pack", "--dry-run", "--json", "--loglevel=error"], {
      cwd: new URL("..", import.meta.url).pathname,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }),
  );
  /** @type {string[]} */
  const files = listed[0].files.map((/** @type {{ path: string }} */ f) => f.path);
  const odd = files.filter((path) => !/^(package\.json|README\.md|dist\/.*\.(js|d\.ts))$/.test(path));
  assert.deepEqual(odd, []);
  for (const path of ["dist/index.js", "dist/index.d.ts", "dist/react.js", "dist/gen/usher/v1/rooms_pb.d.ts", "README.md"]) {
    assert.ok(files.includes(path), `${path} is missing`);
  }
});

// The last one, because it uses the limit up for whoever comes from this address.
test("limits say when to come back", async () => {
  // Look-ups of rooms that do not exist are limited per address: 60 a minute.
  const limited = await refusal(async () => {
    for (let n = 0; n < 200; n++) {
      const error = await refusal(() => guest.rooms.getRoom({ room: `nothing-${n}` }));
      if (error.reason === "RATE_LIMITED") throw error;
    }
  });
  assert.ok(limited.temporary);
  assert.ok(limited.retryAfter !== undefined && limited.retryAfter > 0, `retryAfter ${limited.retryAfter}`);
});
