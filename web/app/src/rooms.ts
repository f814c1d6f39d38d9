import { AccessLevel, JoinMode, Role, type Room } from "@usher-meet/client";
import type { Texts } from "./texts/en.ts";
import type { IconName } from "./ui/icons.tsx";

/** The access levels that can be chosen, with their words. */
export function accessLevels(t: Texts): { level: AccessLevel; name: string; hint: string; icon: IconName }[] {
  return [
    { level: AccessLevel.RESTRICTED, name: t.access.restricted, hint: t.access.restrictedHint, icon: "lock" },
    { level: AccessLevel.TRUSTED, name: t.access.trusted, hint: t.access.trustedHint, icon: "badge" },
    { level: AccessLevel.PUBLIC, name: t.access.public, hint: t.access.publicHint, icon: "open" },
  ];
}

export function roleName(t: Texts, role: Role): string {
  return [t.roles.none, t.roles.member, t.roles.administrator, t.roles.owner][role] ?? t.roles.none;
}

/** Whether a role runs meetings. */
export function isHost(role: Role): boolean {
  return role >= Role.ADMINISTRATOR;
}

/** Whether the caller enters a room without waiting. */
export function isDirect(room: Room): boolean {
  return room.joinMode === JoinMode.DIRECT;
}

/** The slug or id in what somebody typed or pasted: a code, a path, or a link of this service. Undefined: none. */
export function roomIn(typed: string, origin: string): string | undefined {
  const text = typed.trim();
  let path = text;
  if (/^[a-z]+:\/\//i.test(text)) {
    if (!URL.canParse(text) || new URL(text).origin !== origin) return undefined;
    path = new URL(text).pathname;
  } else if (text.includes(".") && URL.canParse(`https://${text}`)) {
    const url = new URL(`https://${text}`);
    if (url.host !== new URL(origin).host) return undefined;
    path = url.pathname;
  }
  let name: string;
  try {
    name = decodeURIComponent(path.replace(/^\/+|\/+$/g, ""));
  } catch {
    return undefined;
  }
  return name === "" || name.includes("/") ? undefined : name;
}

/** The text that invites somebody, with every way to join. */
export function invitationText(t: Texts, room: Room, dialIn = room.dialIn): string {
  const parts = [t.invitation.text(room.name, room.webUrl)];
  if (dialIn) {
    const numbers = dialIn.numbers.map((n) => `${n.display} (${n.country})`).join("\n");
    parts.push(t.invitation.phone(numbers, dialIn.pinDisplay));
  }
  return parts.join("\n\n");
}
