/** A guest's place in the queue of a room, kept for this tab, so that loading the page anew does not lose it. */
export interface Place {
  /** The key to the entry: a secret, which never leaves this tab. */
  ticket: string;
  /** The name under which they asked. */
  name: string;
  /** Whether they were waiting. False: they were let in. */
  waiting: boolean;
  devices: { camera: boolean; microphone: boolean };
}

const key = (room: string) => `usher.place.${room}`;

export function keptPlace(room: string): Place | undefined {
  try {
    const place = JSON.parse(sessionStorage.getItem(key(room)) ?? "null") as Place | null;
    return place && typeof place.ticket === "string" ? place : undefined;
  } catch {
    return undefined;
  }
}

export function keepPlace(room: string, place: Place | undefined): void {
  if (place) sessionStorage.setItem(key(room), JSON.stringify(place));
  else sessionStorage.removeItem(key(room));
}

const invitationKey = (slug: string) => `usher.invitation.${slug}`;

/**
 * The token of a personal invitation, by which somebody came to a room. It comes in the part of the address that browsers keep
 * to themselves, and is taken out of it at once: addresses are copied, and shown on shared screens.
 */
export function invitationOf(slug: string): string {
  const token = /^#invitation=([\w-]{1,128})$/.exec(location.hash)?.[1];
  if (token !== undefined) {
    sessionStorage.setItem(invitationKey(slug), token);
    history.replaceState(history.state, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(invitationKey(slug)) ?? "";
}
