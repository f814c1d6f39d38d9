import type { Client } from "@connectrpc/connect";
import { UsherError } from "./errors.js";
import type { Entry, LobbyService, WaitingSnapshot } from "./gen/usher/v1/lobby_pb.js";
import { ClosingReason, EntryStatus } from "./gen/usher/v1/lobby_pb.js";
import { follow, milliseconds, type Patience, patience, persist, sleep, type WatchOptions } from "./stream.js";

/** How somebody asks to be let in. */
export interface EnterOptions extends WatchOptions {
  /** The name that hosts see. Empty: the account's, else "Guest". */
  displayName?: string;
  /** The ticket of an earlier entry, to keep its place. */
  ticket?: string;
  /** Told the ticket as soon as there is one: keep it for as long as the page lives, and keep it secret. */
  onTicket?: (ticket: string) => void;
  /** Token of a personal invitation link. */
  invitationToken?: string;
}

/**
 * Asks to be let in, and yields the entry as it is and whenever it changes, until somebody decides. The last one is ACCEPTED,
 * with a connection, or DENIED. Callers who may enter directly are ACCEPTED at once. It outlives broken connections and
 * restarts of the server without losing the place. When the meeting ends meanwhile, it waits for the next one.
 */
export async function* enter(
  lobby: Client<typeof LobbyService>,
  room: string,
  options: EnterOptions = {},
  bounds: Patience = patience,
): AsyncGenerator<Entry> {
  let ticket = options.ticket ?? "";
  for (;;) {
    const entry = await ask(lobby, room, ticket, options, bounds);
    if (entry.ticket !== "") {
      ticket = entry.ticket;
      options.onTicket?.(ticket);
    }
    yield entry;
    if (entry.status !== EntryStatus.WAITING) return;
    try {
      const again = yield* watch(lobby, room, ticket, options, bounds);
      if (again === undefined) return;
      await sleep(again, options.signal);
    } catch (thrown) {
      if (UsherError.from(thrown).reason !== "TICKET_INVALID") throw thrown;
      ticket = "";
    }
  }
}

/** RequestEntry. With a ticket there is a place to keep, so that it is repeated for as long as nobody answers. */
async function ask(
  lobby: Client<typeof LobbyService>,
  room: string,
  ticket: string,
  options: EnterOptions,
  bounds: Patience,
): Promise<Entry> {
  const call = (with_: string) =>
    lobby.requestEntry(
      {
        room,
        displayName: options.displayName ?? "",
        ticket: with_,
        invitationToken: options.invitationToken ?? "",
      },
      options.signal ? { signal: options.signal } : {},
    );
  let answer: Awaited<ReturnType<typeof call>>;
  try {
    answer = await (ticket === "" ? call("") : persist(() => call(ticket), options, bounds));
  } catch (thrown) {
    if (ticket === "" || UsherError.from(thrown).reason !== "TICKET_INVALID") throw thrown;
    answer = await call("");
  }
  if (!answer.entry) throw new Error("RequestEntry answered without an entry");
  return answer.entry;
}

/** WatchEntry, until it is decided (undefined) or has to be asked for anew after some milliseconds. */
async function* watch(
  lobby: Client<typeof LobbyService>,
  room: string,
  ticket: string,
  options: EnterOptions,
  bounds: Patience,
): AsyncGenerator<Entry, number | undefined> {
  for await (const event of follow((signal) => lobby.watchEntry({ room, ticket }, { signal }), options, bounds)) {
    if (event.case === "closing") {
      if (event.value.reason !== ClosingReason.LOBBY_CLEARED) return undefined;
      return Math.max(milliseconds(event.value.retryAfter), bounds.first);
    }
    yield { ...event.value, ticket };
    if (event.value.status !== EntryStatus.WAITING) return undefined;
  }
  return undefined;
}

/**
 * Yields everybody who waits in a room, oldest first, at once and after every change, for as long as the caller is a host of
 * the room.
 */
export async function* watchWaiting(
  lobby: Client<typeof LobbyService>,
  room: string,
  options: WatchOptions = {},
  bounds: Patience = patience,
): AsyncGenerator<WaitingSnapshot> {
  for (;;) {
    for await (const event of follow((signal) => lobby.watchWaiting({ room }, { signal }), options, bounds)) {
      if (event.case === "closing") break; // the lobby was cleared: the next snapshot shows it
      yield event.value;
    }
    await sleep(bounds.first, options.signal);
  }
}
