import { TransportProvider } from "@connectrpc/connect-query";
import { createContext, type ReactNode, useCallback, useContext, useEffect, useRef, useState } from "react";
import type { UsherClient } from "./client.js";
import { UsherError } from "./errors.js";
import type { Entry, WaitingSnapshot } from "./gen/usher/v1/lobby_pb.js";
import type { EnterOptions } from "./lobby.js";
import type { StreamState } from "./stream.js";

export {
  createConnectQueryKey,
  skipToken,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useSuspenseQuery,
  useTransport,
} from "@connectrpc/connect-query";

const Context = createContext<UsherClient | undefined>(undefined);

/**
 * Gives a client to the components below it, to useUsher and to the hooks of connect-query. It goes inside a
 * QueryClientProvider.
 */
export function UsherProvider({ client, children }: { client: UsherClient; children: ReactNode }) {
  return (
    <Context.Provider value={client}>
      <TransportProvider transport={client.transport}>{children}</TransportProvider>
    </Context.Provider>
  );
}

/** The client of the nearest UsherProvider. */
export function useUsher(): UsherClient {
  const client = useContext(Context);
  if (!client) throw new Error("useUsher needs an UsherProvider above it");
  return client;
}

/** A stream as a component sees it. */
export interface Watched<T> {
  /** What came last. It stays while the stream reconnects. */
  value: T | undefined;
  state: StreamState | "off";
  /** Why the stream ended for good. */
  error: UsherError | undefined;
}

/** useWaiting watches who waits in a room, while `room` is given. */
export function useWaiting(room: string | undefined): Watched<WaitingSnapshot> & { restart: () => void } {
  const usher = useUsher();
  return useStream(
    room === undefined ? undefined : (options) => usher.watchWaiting(room, options),
    `${usher.baseUrl} ${room}`,
  );
}

/** useEntry asks to be let into a room, and waits, while `options` are given. */
export function useEntry(
  room: string,
  options: Omit<EnterOptions, "signal" | "onState"> | undefined,
): Watched<Entry> & { restart: () => void } {
  const usher = useUsher();
  return useStream(options && ((o) => usher.enter(room, { ...options, ...o })), `${usher.baseUrl} ${room}`);
}

/** Runs a stream while there is one to open; it is aborted when the component goes, or the key changes. */
function useStream<T>(
  open: ((o: { signal: AbortSignal; onState: (s: StreamState) => void }) => AsyncIterable<T>) | undefined,
  key: string,
): Watched<T> & { restart: () => void } {
  const [watched, setWatched] = useState<Watched<T>>({ value: undefined, state: "off", error: undefined });
  const [round, setRound] = useState(0);
  const latest = useRef(open);
  latest.current = open;
  const on = open !== undefined;
  // biome-ignore lint/correctness/useExhaustiveDependencies: the key and the round say when it is another stream
  useEffect(() => {
    const opened = latest.current;
    if (!on || !opened) {
      setWatched({ value: undefined, state: "off", error: undefined });
      return;
    }
    const left = new AbortController();
    const set = (change: Partial<Watched<T>>) => {
      if (!left.signal.aborted) setWatched((before) => ({ ...before, ...change }));
    };
    set({ value: undefined, state: "connecting", error: undefined });
    (async () => {
      try {
        for await (const value of opened({ signal: left.signal, onState: (state) => set({ state }) })) set({ value });
        set({ state: "off" });
      } catch (thrown) {
        set({ state: "off", error: UsherError.from(thrown) });
      }
    })();
    return () => left.abort();
  }, [on, key, round]);
  const restart = useCallback(() => setRound((n) => n + 1), []);
  return { ...watched, restart };
}
