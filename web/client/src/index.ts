export { Code } from "@connectrpc/connect";
export { createUsherClient, type Token, type UsherClient, type UsherOptions } from "./client.js";
export { type FieldViolation, type Reason, UsherError } from "./errors.js";
export * from "./gen/index.js";
export type { EnterOptions } from "./lobby.js";
export type { StreamState, WatchOptions } from "./stream.js";
