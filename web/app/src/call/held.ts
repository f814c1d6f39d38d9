/** What the meeting needs to know of a participant. */
export interface Person {
  /** LiveKit's kind: 3 is a phone caller (ParticipantKind.SIP). */
  kind: number;
  attributes: Readonly<Record<string, string>>;
}

const sip = 3;

/**
 * Whether somebody is on the phone and waits to be let in: they are then neither shown nor played. The room's metadata says
 * whether it holds phone callers. A caller about whom that cannot be told is held.
 */
export function isHeld(person: Person, roomMetadata: string | undefined): boolean {
  if (person.kind !== sip) return false;
  const { lobby } = person.attributes;
  if (lobby !== undefined && lobby !== "") return lobby !== "admitted";
  return holdsCallers(roomMetadata);
}

/** Whether phone callers of a room wait. Without a policy of its own, a room that is open has none that wait. */
export function holdsCallers(roomMetadata: string | undefined): boolean {
  try {
    const room = JSON.parse(roomMetadata || "null") as {
      access_level?: string;
      configuration?: { phonePolicy?: string };
    } | null;
    const policy = room?.configuration?.phonePolicy;
    if (policy === "PHONE_POLICY_LOBBY") return true;
    if (policy === "PHONE_POLICY_DIRECT") return false;
    return room?.access_level !== "ACCESS_LEVEL_PUBLIC";
  } catch {
    return true;
  }
}
