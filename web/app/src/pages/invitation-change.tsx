import { type Invitation, InvitationsService } from "@usher-meet/client";
import { useMutation } from "@usher-meet/client/react";
import { type FormEvent, useId, useState } from "react";
import { endsAfterItBegins, nextHour, type Times, timesIn, timesOf, zoneOfBrowser } from "../schedule.ts";
import { useTexts } from "../texts/index.tsx";
import { Dialog, ErrorNotice, useToaster } from "../ui/feedback.tsx";
import { Check, Schedule } from "./invitation-schedule.tsx";

interface Draft extends Times {
  message: string;
  scheduled: boolean;
}

/** Changes when an invitation is for, and what it says. Only what was changed is sent: to change nothing is no letter. */
export function ChangeDialog({
  invitation,
  changed,
  close,
}: {
  invitation: Invitation;
  changed: () => void;
  close: () => void;
}) {
  const t = useTexts();
  const id = useId();
  const { tell } = useToaster();
  const { startTime, endTime } = invitation;
  const hasTime = startTime !== undefined && endTime !== undefined;
  const [first] = useState<Draft>(() => ({
    ...(hasTime ? timesIn(startTime, endTime, invitation.recurrence) : nextHour(new Date())),
    message: invitation.message,
    scheduled: hasTime,
  }));
  const [draft, setDraft] = useState(first);
  const [wrong, setWrong] = useState("");
  const update = useMutation(InvitationsService.method.updateInvitation, {
    onSuccess: () => {
      tell(t.invitations.changed);
      changed();
      close();
    },
  });
  const change = (to: Partial<Draft>) => {
    setDraft((before) => ({ ...before, ...to }));
    setWrong("");
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (draft.scheduled && !endsAfterItBegins(draft)) return setWrong(t.invitations.endBeforeStart);
    const differs = (...keys: (keyof Draft)[]) => keys.some((key) => draft[key] !== first[key]);
    const paths: string[] = [];
    if (differs("message")) paths.push("message");
    if (draft.scheduled && differs("scheduled", "start", "end")) paths.push("start_time", "end_time");
    if (draft.scheduled && differs("repeat", "times")) paths.push("recurrence");
    // A meeting that had a time repeats in the zone that it was given.
    if (draft.scheduled && !first.scheduled) paths.push("timezone");
    if (paths.length === 0) return close();
    update.mutate({
      invitation: {
        id: invitation.id,
        message: draft.message,
        timezone: zoneOfBrowser(),
        ...(draft.scheduled && timesOf(draft)),
      },
      updateMask: { paths },
    });
  };
  return (
    <Dialog title={t.invitations.changeTitle(invitation.email)} onClose={close}>
      <form className="stack" onSubmit={submit} noValidate>
        <p>{t.invitations.changeBody}</p>
        <div className="field">
          <label htmlFor={`${id}-message`}>{t.invitations.message}</label>
          <textarea
            id={`${id}-message`}
            value={draft.message}
            maxLength={2000}
            onChange={(event) => change({ message: event.target.value })}
          />
        </div>
        {/* What is in a calendar keeps a time. */}
        {!hasTime && (
          <Check label={t.invitations.schedule} checked={draft.scheduled} set={(scheduled) => change({ scheduled })} />
        )}
        {draft.scheduled && <Schedule id={id} draft={draft} change={change} />}
        {wrong && (
          <p className="notice notice-error" role="alert">
            {wrong}
          </p>
        )}
        <ErrorNotice error={update.error} />
        <div className="actions">
          <button type="button" className="button" onClick={close}>
            {t.common.cancel}
          </button>
          <button type="submit" className="button primary" disabled={update.isPending}>
            {t.invitations.submitChange}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
