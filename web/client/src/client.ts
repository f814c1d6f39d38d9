import { type Client, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { UsherError } from "./errors.js";
import { ConfigService } from "./gen/usher/v1/config_pb.js";
import { InvitationsService } from "./gen/usher/v1/invitations_pb.js";
import type { Entry, WaitingSnapshot } from "./gen/usher/v1/lobby_pb.js";
import { LobbyService } from "./gen/usher/v1/lobby_pb.js";
import { ParticipantsService } from "./gen/usher/v1/participants_pb.js";
import { RecordingsService } from "./gen/usher/v1/recordings_pb.js";
import { RoomsService } from "./gen/usher/v1/rooms_pb.js";
import { TelephonyService } from "./gen/usher/v1/telephony_pb.js";
import { UsersService } from "./gen/usher/v1/users_pb.js";
import { type EnterOptions, enter, watchWaiting } from "./lobby.js";
import type { WatchOptions } from "./stream.js";

/** A bearer token, or what gives one each time that it is needed. Undefined: the session cookie, if there is one. */
export type Token = string | undefined | (() => string | undefined | Promise<string | undefined>);

export interface UsherOptions {
  /** Address of Usher, such as "https://meet.example.org". */
  baseUrl: string;
  /** API token, service token, or session token of a connection. In a browser that is signed in: none. */
  token?: Token;
  /** Milliseconds after which a call without an answer fails. Streams have no such limit. Default: 20,000. */
  timeout?: number;
  /** Replaces fetch. */
  fetch?: typeof globalThis.fetch;
}

/** Everything that Usher does. All methods throw UsherError. */
export interface UsherClient {
  readonly baseUrl: string;
  /** For connect-query, and for clients of other services on the same server. */
  readonly transport: Transport;
  readonly config: Client<typeof ConfigService>;
  readonly invitations: Client<typeof InvitationsService>;
  readonly lobby: Client<typeof LobbyService>;
  readonly participants: Client<typeof ParticipantsService>;
  readonly recordings: Client<typeof RecordingsService>;
  readonly rooms: Client<typeof RoomsService>;
  readonly telephony: Client<typeof TelephonyService>;
  readonly users: Client<typeof UsersService>;
  /** Asks to be let into a room, and waits. */
  enter(room: string, options?: EnterOptions): AsyncGenerator<Entry>;
  /** Watches who waits to be let into a room. */
  watchWaiting(room: string, options?: WatchOptions): AsyncGenerator<WaitingSnapshot>;
  /** The same server for another caller: `as(connection.sessionToken)` speaks for a participant. */
  as(token: Token): UsherClient;
}

/** Makes a client. It opens no connection by itself. */
export function createUsherClient(options: UsherOptions): UsherClient {
  const web = createConnectTransport({
    baseUrl: options.baseUrl,
    interceptors: [typedErrors, bearer(options.token)],
    ...(options.fetch && { fetch: options.fetch }),
  });
  const transport: Transport = {
    unary: (method, signal, timeout, ...rest) => web.unary(method, signal, timeout ?? options.timeout ?? 20_000, ...rest),
    stream: (...call) => web.stream(...call),
  };
  const lobby = createClient(LobbyService, transport);
  return {
    baseUrl: options.baseUrl,
    transport,
    config: createClient(ConfigService, transport),
    invitations: createClient(InvitationsService, transport),
    lobby,
    participants: createClient(ParticipantsService, transport),
    recordings: createClient(RecordingsService, transport),
    rooms: createClient(RoomsService, transport),
    telephony: createClient(TelephonyService, transport),
    users: createClient(UsersService, transport),
    enter: (room, o) => enter(lobby, room, o),
    watchWaiting: (room, o) => watchWaiting(lobby, room, o),
    as: (token) => createUsherClient({ ...options, token }),
  };
}

/** Errors of calls, and of streams wherever they break, become UsherErrors. */
const typedErrors: Interceptor = (next) => async (request) => {
  try {
    const response = await next(request);
    return response.stream ? { ...response, message: typed(response.message) } : response;
  } catch (thrown) {
    throw UsherError.from(thrown);
  }
};

async function* typed<T>(messages: AsyncIterable<T>): AsyncIterable<T> {
  try {
    yield* messages;
  } catch (thrown) {
    throw UsherError.from(thrown);
  }
}

function bearer(token: Token): Interceptor {
  return (next) => async (request) => {
    const value = typeof token === "function" ? await token() : token;
    if (value) request.header.set("Authorization", `Bearer ${value}`);
    return next(request);
  };
}
