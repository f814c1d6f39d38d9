// What the client does, as cases that run on Node and in Chromium alike: `check` is node:assert there, and a stand-in for its
// few functions here.
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

/** @typedef {import("@usher-meet/client").UsherClient} UsherClient */

/**
 * @typedef {object} Check
 * @property {(value: unknown, message?: string) => void} ok
 * @property {(actual: unknown, wanted: unknown, message?: string) => void} equal
 * @property {(actual: unknown, wanted: unknown, message?: string) => void} deepEqual
 */

/**
 * Where a case runs.
 * @typedef {object} Place
 * @property {string} url Address of an Usher.
 * @property {() => string} token What the developer's API token is now.
 * @property {() => Promise<void>} restart Stops that Usher, and starts it again.
 */

/**
 * Makes the cases, by their names, in their order.
 * @param {Check} check
 * @param {Place} place
 */
export function casesOf(check, place) {
  /** @type {(value: unknown, message?: string) => asserts value} */
  const ok = (value, message) => check.ok(value, message);
  const host = createUsherClient({ baseUrl: place.url, token: place.token });
  const guest = createUsherClient({ baseUrl: place.url });

  /** @param {string} name */
  async function restrictedRoom(name) {
    const { room } = await host.rooms.createRoom({ name, accessLevel: AccessLevel.RESTRICTED });
    ok(room);
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
      ok(thrown instanceof UsherError, `thrown: ${thrown}`);
      return thrown;
    }
    throw new Error("the call succeeded");
  }

  /**
   * The first value that fits.
   * @template T
   * @param {AsyncIterable<T>} values
   * @param {(value: T) => boolean} fits
   */
  async function first(values, fits) {
    for await (const value of values) if (fits(value)) return value;
    throw new Error("the stream ended before");
  }

  /** @type {[name: string, run: () => Promise<void> | void][]} */
  const cases = [];
  const test = (/** @type {string} */ name, /** @type {() => Promise<void> | void} */ run) => cases.push([name, run]);

  test("calls and their types", async () => {
    const room = await restrictedRoom("Weekly");
    check.equal(room.myRole, Role.OWNER);
    const seen = await guest.rooms.getRoom({ room: room.slug });
    check.equal(seen.room?.joinMode, JoinMode.LOBBY);
    check.equal(seen.room?.configuration, undefined, "a stranger does not see the configuration");
    const { connection } = await host.rooms.joinRoom({ room: room.id, displayName: "Ada" });
    ok(connection?.serverUrl.startsWith("ws:"));
    // The session token speaks for the participant and nobody else.
    const self = host.as(connection?.sessionToken);
    check.equal((await self.rooms.renewConnection({})).connection?.participantIdentity, connection?.participantIdentity);
    check.equal((await refusal(() => self.rooms.listRooms({}))).code, Code.Unauthenticated);
  });

  test("errors say why, in types", async () => {
    const none = await refusal(() => guest.rooms.getRoom({ room: "no-such-room" }));
    check.equal(none.reason, "ROOM_NOT_FOUND");
    check.equal(none.code, Code.NotFound);
    ok(!none.temporary && !none.unreachable);

    const anonymous = await refusal(() => guest.rooms.createRoom({ name: "Mine" }));
    check.equal(anonymous.reason, "SIGN_IN_REQUIRED");

    const malformed = await refusal(() => host.rooms.createRoom({ name: "x".repeat(501), requestId: "not a UUID" }));
    check.equal(malformed.reason, "INVALID_REQUEST");
    check.deepEqual(malformed.violations.map((v) => v.field).sort(), ["name", "request_id"]);

    const room = await restrictedRoom("Of one owner");
    const { user } = await host.users.getMe({});
    const last = await refusal(() =>
      host.rooms.removeMember({ room: room.id, identifier: { case: "userId", value: user?.id ?? "" } }),
    );
    check.equal(last.reason, "LAST_OWNER");
    const taken = await refusal(() => host.rooms.createRoom({ name: "Again", slug: room.slug }));
    check.equal(taken.reason, "ROOM_SLUG_TAKEN");
    check.equal(taken.about.slug, room.slug);
  });

  test("every reason of the contract is known", () => {
    ok(Object.keys(ErrorReason).length > 60);
  });

  test("a guest knocks, the host sees them and lets them in", async () => {
    const room = await restrictedRoom("Knocking");
    const left = new AbortController();
    const waiting = host.watchWaiting(room.id, { signal: left.signal });
    /** @type {string[]} */
    const tickets = [];
    const entry = guest.enter(room.slug, { displayName: "Bob", onTicket: (t) => tickets.push(t) });
    const asked = (await entry.next()).value;
    check.equal(asked?.status, EntryStatus.WAITING);
    check.equal(tickets.length, 1);

    const snapshot = await first(waiting, (s) => s.entries.length === 1);
    const [seen] = snapshot.entries;
    check.equal(seen?.displayName, "Bob");
    check.equal(seen?.ticket, "", "hosts get no ticket");
    await host.lobby.decideEntry({
      room: room.id,
      entryId: seen?.id ?? "",
      etag: seen?.etag ?? "",
      decision: Decision.ALLOW,
    });
    const admitted = await first(entry, (e) => e.status !== EntryStatus.WAITING);
    check.equal(admitted.status, EntryStatus.ACCEPTED);
    ok(admitted.connection?.token);
    check.equal((await entry.next()).done, true, "nothing comes after the decision");
    left.abort();
  });

  test("whoever may enter is in at once", async () => {
    const room = await restrictedRoom("Mine");
    /** @type {EntryStatus[]} */
    const seen = [];
    for await (const entry of host.enter(room.id, { displayName: "Ada" })) seen.push(entry.status);
    check.deepEqual(seen, [EntryStatus.ACCEPTED]);
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
    await place.restart();
    const pending = entry.next();
    const after_ = (await pending).value;
    check.equal(after_?.id, before_?.id);
    check.equal(after_?.status, EntryStatus.WAITING);
    check.deepEqual(after_?.requestTime, before_?.requestTime);
    check.deepEqual(states, ["connecting", "live", "reconnecting", "live"]);
    await entry.return(undefined);

    // A page that was loaded anew goes on with the ticket that it kept.
    const again = guest.enter(room.slug, { ticket: tickets.at(-1) ?? "" });
    check.equal((await again.next()).value?.id, before_?.id);
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
    const watching = createUsherClient({ baseUrl: place.url, token: place.token, fetch: counting });
    for await (const snapshot of watching.watchWaiting(room.id)) {
      check.equal(snapshot.entries.length, 0);
      check.equal(open, 1);
      break;
    }
    check.equal(open, 0, "after break");
    const left = new AbortController();
    let ended;
    try {
      for await (const _ of watching.watchWaiting(room.id, { signal: left.signal })) left.abort(new Error("left"));
    } catch (thrown) {
      ended = thrown;
    }
    ok(String(ended).includes("left"));
    check.equal(open, 0, "after abort");
  });

  test("a stream that is not allowed ends with the reason", async () => {
    const room = await restrictedRoom("Private");
    const error = await refusal(() => guest.watchWaiting(room.id).next());
    check.equal(error.reason, "SIGN_IN_REQUIRED");
  });

  test("limits say when to come back", async () => {
    // Look-ups of rooms that do not exist are limited per address: 60 a minute.
    const limited = await refusal(async () => {
      for (let n = 0; n < 200; n++) {
        const error = await refusal(() => guest.rooms.getRoom({ room: `nothing-${n}` }));
        if (error.reason === "RATE_LIMITED") throw error;
      }
    });
    ok(limited.temporary);
    ok(limited.retryAfter !== undefined && limited.retryAfter > 0, `retryAfter ${limited.retryAfter}`);
  });
  return cases;
}
