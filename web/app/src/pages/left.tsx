import type { Room } from "@usher-meet/client";
import { Link } from "wouter";
import { useMe } from "../session.ts";
import { useTexts } from "../texts/index.tsx";
import { MessagePage } from "../ui/page.tsx";

/** Why somebody is not in the meeting any more. */
export type LeftReason = "left" | "removed" | "ended" | "elsewhere" | "failed";

export function Left({ room, reason, again }: { room: Room; reason: LeftReason; again: () => void }) {
  const t = useTexts();
  const me = useMe();
  const [title, body] = {
    left: [t.left.title, t.left.body],
    removed: [t.left.removedTitle, t.left.removed],
    ended: [t.left.endedTitle, t.left.ended],
    elsewhere: [t.left.elsewhereTitle, t.left.elsewhere],
    failed: [t.left.failedTitle, t.left.failed],
  }[reason] as [string, string];
  return (
    <MessagePage title={title} body={body}>
      <p className="muted clamp">{room.name}</p>
      <button type="button" className="button" onClick={again}>
        {t.left.again}
      </button>
      {me && (
        <Link href="/" className="button quiet">
          {t.common.home}
        </Link>
      )}
    </MessagePage>
  );
}
