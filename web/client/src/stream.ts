import { Code } from "@connectrpc/connect";
import { UsherError } from "./errors.js";
import type { Closing } from "./gen/usher/v1/lobby_pb.js";
import { ClosingReason } from "./gen/usher/v1/lobby_pb.js";

/** How a stream does: it was never up, it is up, or it was and will be again. */
export type StreamState = "connecting" | "live" | "reconnecting";

/** What all methods that watch something take. */
export interface WatchOptions {
  /** Ends the stream. So does leaving the loop: either way the request is aborted. */
  signal?: AbortSignal;
  /** Told whenever the state of the stream changes. */
  onState?: (state: StreamState) => void;
}

/** Bounds of reconnecting, in milliseconds. */
export interface Patience {
  /** The first pause, which doubles up to `longest`. */
  first: number;
  longest: number;
  /** A stream on which nothing comes for this long is dead: the server sends a heartbeat every 10 s. */
  silence: number;
}

export const patience: Patience = { first: 500, longest: 15_000, silence: 25_000 };

/** What every message of a stream looks like. */
type Event =
  | { case: "heartbeat"; value: unknown }
  | { case: "closing"; value: Closing }
  | { case: "entry" | "snapshot"; value: unknown }
  | { case: undefined };

/**
 * Follows a stream for as long as it takes: opens it again when it breaks off or has reached its age. It yields what came and
 * closings that are final, and throws what another try would not change. Whoever leaves the loop, with break, return or an
 * exception, aborts the request.
 */
export async function* follow<M extends { event: Event }>(
  open: (signal: AbortSignal) => AsyncIterable<M>,
  options: WatchOptions,
  bounds: Patience = patience,
): AsyncGenerator<Exclude<M["event"], { case: "heartbeat" } | { case: undefined }>> {
  let pause = bounds.first;
  let state: StreamState | undefined;
  const become = (next: StreamState) => {
    if (next !== state) options.onState?.(next);
    state = next;
  };
  become("connecting");
  for (;;) {
    options.signal?.throwIfAborted();
    let wait: number | undefined;
    // Each try has a controller of its own: breaking out of a loop over a stream would leave the request open.
    const request = new AbortController();
    const leave = () => request.abort(options.signal?.reason);
    options.signal?.addEventListener("abort", leave);
    let silent = false;
    const declareDead = () => {
      silent = true;
      request.abort();
    };
    let watchdog = setTimeout(declareDead, bounds.silence);
    try {
      for await (const { event } of open(request.signal)) {
        clearTimeout(watchdog); // not while the loop of the caller works
        become("live");
        pause = bounds.first;
        if (event.case === "closing" && comesBack(event.value as Closing)) {
          wait = milliseconds((event.value as Closing).retryAfter);
          break;
        }
        if (event.case !== undefined && event.case !== "heartbeat") {
          yield event as Exclude<M["event"], { case: "heartbeat" } | { case: undefined }>;
        }
        watchdog = setTimeout(declareDead, bounds.silence);
      }
    } catch (thrown) {
      options.signal?.throwIfAborted();
      const error = UsherError.from(thrown);
      if (!silent && !worthAnother(error)) throw error;
      wait = error.retryAfter;
    } finally {
      clearTimeout(watchdog);
      options.signal?.removeEventListener("abort", leave);
      request.abort();
    }
    become("reconnecting");
    await sleep(Math.max(wait ?? 0, jittered(pause)), options.signal);
    pause = Math.min(pause * 2, bounds.longest);
  }
}

/** Repeats a call until it is answered or refused for good. */
export async function persist<T>(call: () => Promise<T>, options: WatchOptions, bounds: Patience = patience): Promise<T> {
  for (let pause = bounds.first; ; pause = Math.min(pause * 2, bounds.longest)) {
    try {
      return await call();
    } catch (thrown) {
      options.signal?.throwIfAborted();
      const error = UsherError.from(thrown);
      if (!worthAnother(error)) throw error;
      options.onState?.("reconnecting");
      await sleep(Math.max(error.retryAfter ?? 0, jittered(pause)), options.signal);
    }
  }
}

/** An answer that broke off in the middle reads as one of these, besides the temporary ones. */
function worthAnother(error: UsherError): boolean {
  return (
    error.temporary || (error.reason === undefined && [Code.Unknown, Code.Internal, Code.Canceled].includes(error.code))
  );
}

function comesBack(closing: Closing): boolean {
  return closing.reason === ClosingReason.MAX_AGE || closing.reason === ClosingReason.SERVER_STOPPING;
}

/** Many clients lose one server at the same moment; they must not all come back at the same moment. */
function jittered(ms: number): number {
  return ms * (0.5 + Math.random() / 2);
}

export function milliseconds(d: { seconds: bigint; nanos: number } | undefined): number {
  return d ? Number(d.seconds) * 1000 + d.nanos / 1e6 : 0;
}

/** Waits, but not longer than until the machine is online again. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (settle: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      globalThis.removeEventListener?.("online", wake);
      settle();
    };
    const abort = () => end(() => reject(signal?.reason));
    const wake = () => end(resolve);
    const timer = setTimeout(wake, ms);
    if (signal?.aborted) return abort();
    signal?.addEventListener("abort", abort);
    globalThis.addEventListener?.("online", wake);
  });
}
