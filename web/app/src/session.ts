import { useQuery as usePlainQuery } from "@tanstack/react-query";
import { type Config, ConfigService, type User, UsherError } from "@usher-meet/client";
import { useQuery, useUsher } from "@usher-meet/client/react";

/** How this instance is set up. The page is shown once that is known, so that it is always there. */
export function useConfig(): Config {
  const { data } = useQuery(ConfigService.method.getConfig, {}, { staleTime: Number.POSITIVE_INFINITY });
  if (!data?.config) throw new Error("useConfig is used before the configuration was loaded");
  return data.config;
}

/**
 * Whether the browser sent a session cookie with the request for this page. Scripts cannot see the cookie, so that the server
 * says it. Without one there is nobody to ask for.
 */
const cameWithSession = document.documentElement.dataset.session === "yes";

export const meKey = ["me"];

/** Who is signed in: undefined while that is not known, null for nobody. */
export function useMe(): User | null | undefined {
  const usher = useUsher();
  const { data, errorUpdateCount } = usePlainQuery({
    queryKey: meKey,
    enabled: cameWithSession,
    staleTime: 60_000,
    queryFn: async ({ signal }) => {
      try {
        return (await usher.users.getMe({}, { signal })).user ?? null;
      } catch (thrown) {
        if (signedOut(thrown)) return null; // an answer like any other
        throw thrown;
      }
    },
  });
  return !cameWithSession || (data === undefined && errorUpdateCount > 0) ? null : data;
}

/** Whether an error means that nobody is signed in. */
export function signedOut(error: unknown): boolean {
  const { reason } = UsherError.from(error);
  return reason === "SIGN_IN_REQUIRED" || reason === "SESSION_ENDED" || reason === "UNAUTHENTICATED";
}

/** Whether a query is worth repeating. */
export function retrySession(count: number, error: unknown): boolean {
  return count < 3 && UsherError.from(error).temporary;
}

/** Where to sign in, to come back to this page. Empty when nobody can sign in here. */
export function signInAddress(config: Config): string {
  if (!config.signInUrl) return "";
  const url = new URL(config.signInUrl);
  // Sign-in is part of this server: by the address at which the page was opened, cookies fit.
  return `${url.pathname}?return_to=${encodeURIComponent(location.pathname)}`;
}
