import type { Room } from "@usher-meet/client";
import { useDialIn } from "../pages/phone-panel.tsx";
import { invitationText } from "../rooms.ts";
import { useTexts } from "../texts/index.tsx";
import { CopyButton } from "../ui/feedback.tsx";
import { SidePanel } from "./side-panel.tsx";

/** Every way to join, to read out or to copy. */
export function InvitePanel({ room, close }: { room: Room; close: () => void }) {
  const t = useTexts();
  const { dialIn } = useDialIn(room);
  const text = invitationText(t, room, dialIn);
  return (
    <SidePanel title={t.invitation.title} close={close}>
      <p className="muted">{t.invitation.hint}</p>
      <pre className="invitation">{text}</pre>
      <CopyButton className="button primary" text={text} label={t.invitation.copy} />
    </SidePanel>
  );
}
