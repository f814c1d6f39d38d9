import {
  Attendance,
  ErrorReason,
  type Invitation,
  InvitationStatus,
  InvitationsService,
  type Reason,
  type RefusedRecipient,
  type Room,
} from "@usher-meet/client";
import { useInfiniteQuery, useMutation } from "@usher-meet/client/react";
import { type FormEvent, useId, useState } from "react";
import { moment } from "../recordings.ts";
import { addressesIn, endsAfterItBegins, nextHour, repeatOf, type Times, timesOf, zoneOfBrowser } from "../schedule.ts";
import { useConfig } from "../session.ts";
import { languages, useLanguage, useTexts } from "../texts/index.tsx";
import { Dialog, ErrorNotice, Loading, useToaster } from "../ui/feedback.tsx";
import { Icon } from "../ui/icons.tsx";
import { Menu, type MenuItem } from "../ui/menu.tsx";
import { ChangeDialog } from "./invitation-change.tsx";
import { Check, Schedule } from "./invitation-schedule.tsx";

/** Inviting people by mail, and what became of earlier invitations. */
export function Invitations({ room }: { room: Room }) {
  const t = useTexts();
  const list = useInfiniteQuery(
    InvitationsService.method.listInvitations,
    { room: room.id, pageToken: "", pageSize: 20 },
    {
      pageParamKey: "pageToken",
      getNextPageParam: (page) => page.nextPageToken || undefined,
      // Mail takes its time: what is on its way is looked at again.
      refetchInterval: ({ state }) =>
        state.data?.pages.some((page) => page.invitations.some((one) => one.status === InvitationStatus.PENDING))
          ? 4000
          : false,
    },
  );
  const all = list.data?.pages.flatMap((page) => page.invitations) ?? [];
  const reload = () => void list.refetch();
  return (
    <section className="card stack">
      <h2>{t.invitations.title}</h2>
      <Invite room={room} sent={reload} />
      <ErrorNotice error={list.error} retry={reload} />
      {list.isPending && <Loading />}
      {list.data && all.length === 0 && <p className="muted">{t.invitations.none}</p>}
      <ul className="lines">
        {all.map((one) => (
          <Line key={one.id} invitation={one} reload={reload} />
        ))}
      </ul>
      {list.hasNextPage && (
        <button type="button" className="button" disabled={list.isFetchingNextPage} onClick={() => list.fetchNextPage()}>
          {t.common.more}
        </button>
      )}
    </section>
  );
}

interface Draft extends Times {
  addresses: string;
  message: string;
  language: string;
  scheduled: boolean;
  skipLobby: boolean;
  addAsMember: boolean;
}

function emptyDraft(): Draft {
  return {
    ...nextHour(new Date()),
    addresses: "",
    message: "",
    language: "",
    scheduled: false,
    skipLobby: false,
    addAsMember: false,
  };
}

function Invite({ room, sent }: { room: Room; sent: () => void }) {
  const t = useTexts();
  const id = useId();
  const config = useConfig();
  const { tell } = useToaster();
  const [draft, setDraft] = useState(emptyDraft);
  const [wrong, setWrong] = useState("");
  const [refused, setRefused] = useState<RefusedRecipient[]>([]);
  // The same id for the same request: pressing twice sends one mail.
  const [requestId, setRequestId] = useState(() => crypto.randomUUID());
  const create = useMutation(InvitationsService.method.createInvitations);
  const change = (to: Partial<Draft>) => {
    setDraft((before) => ({ ...before, ...to }));
    setRequestId(crypto.randomUUID());
    setWrong("");
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const addresses = addressesIn(draft.addresses);
    if (addresses.length === 0) return setWrong(t.invitations.addressesMissing);
    if (draft.scheduled && !endsAfterItBegins(draft)) return setWrong(t.invitations.endBeforeStart);
    setRefused([]);
    create.mutate(
      {
        room: room.id,
        recipients: addresses.map((email) => ({ email, language: draft.language })),
        message: draft.message,
        skipLobby: draft.skipLobby,
        addAsMember: draft.addAsMember,
        requestId,
        ...(draft.scheduled && { ...timesOf(draft), timezone: zoneOfBrowser() }),
      },
      {
        onSuccess: (answer) => {
          setRefused(answer.refused);
          if (answer.invitations.length > 0) tell(t.invitations.sent(answer.invitations.length));
          // What was refused stays, to be corrected.
          change({ addresses: answer.refused.map(({ email }) => email).join("\n") });
          sent();
        },
      },
    );
  };
  return (
    <form className="stack" onSubmit={submit} aria-label={t.invitations.send} noValidate>
      <div className="field">
        <label htmlFor={`${id}-addresses`}>{t.invitations.addresses}</label>
        <textarea
          id={`${id}-addresses`}
          value={draft.addresses}
          autoCapitalize="none"
          spellCheck={false}
          aria-describedby={`${id}-hint`}
          onChange={(event) => change({ addresses: event.target.value })}
        />
        <small id={`${id}-hint`}>{t.invitations.addressesHint}</small>
      </div>
      <div className="field">
        <label htmlFor={`${id}-message`}>{t.invitations.message}</label>
        <textarea
          id={`${id}-message`}
          value={draft.message}
          maxLength={2000}
          aria-describedby={`${id}-message-hint`}
          onChange={(event) => change({ message: event.target.value })}
        />
        <small id={`${id}-message-hint`}>{t.invitations.messageHint}</small>
      </div>
      {config.languages.length > 1 && (
        <div className="field">
          <label htmlFor={`${id}-language`}>{t.header.language}</label>
          <select
            id={`${id}-language`}
            value={draft.language}
            onChange={(event) => change({ language: event.target.value })}
          >
            <option value="">{t.profile.languageStandard}</option>
            {config.languages.map((tag) => (
              <option key={tag} value={tag} lang={tag}>
                {tag in languages ? languages[tag as keyof typeof languages] : tag}
              </option>
            ))}
          </select>
        </div>
      )}
      <Check label={t.invitations.schedule} checked={draft.scheduled} set={(scheduled) => change({ scheduled })} />
      {draft.scheduled && <Schedule id={id} draft={draft} change={change} />}
      <Check
        label={t.invitations.skipLobby}
        hint={t.invitations.skipLobbyHint}
        checked={draft.skipLobby}
        set={(skipLobby) => change({ skipLobby })}
      />
      <Check label={t.invitations.addAsMember} checked={draft.addAsMember} set={(addAsMember) => change({ addAsMember })} />
      {wrong && (
        <p className="notice notice-error" role="alert">
          {wrong}
        </p>
      )}
      {refused.length > 0 && (
        <div className="notice notice-error" role="alert">
          <ul>
            {refused.map(({ email, reason }) => (
              <li key={email}>{t.invitations.refused(email, t.errors[ErrorReason[reason] as Reason] ?? t.errorUnknown)}</li>
            ))}
          </ul>
        </div>
      )}
      <ErrorNotice error={create.error} />
      <div>
        <button type="submit" className="button primary" disabled={create.isPending}>
          <Icon name="mail" />
          {t.invitations.submit}
        </button>
      </div>
    </form>
  );
}

function Line({ invitation, reload }: { invitation: Invitation; reload: () => void }) {
  const { texts: t, locale } = useLanguage();
  const { tell, fail } = useToaster();
  const [asked, setAsked] = useState<"change" | "revoke" | undefined>();
  const resend = useMutation(InvitationsService.method.resendInvitation, {
    onSuccess: () => {
      tell(t.invitations.resent);
      reload();
    },
    onError: fail,
  });
  const status = {
    [InvitationStatus.UNSPECIFIED]: ["", ""],
    [InvitationStatus.PENDING]: [t.invitations.status.pending, ""],
    [InvitationStatus.SENT]: [t.invitations.status.sent, "good"],
    [InvitationStatus.BOUNCED]: [t.invitations.status.bounced, "bad"],
    [InvitationStatus.REVOKED]: [t.invitations.status.revoked, ""],
    [InvitationStatus.EXPIRED]: [t.invitations.status.expired, ""],
  }[invitation.status] as [string, string];
  const answer = {
    [Attendance.UNSPECIFIED]: t.invitations.answers.none,
    [Attendance.YES]: t.invitations.answers.yes,
    [Attendance.NO]: t.invitations.answers.no,
    [Attendance.MAYBE]: t.invitations.answers.maybe,
  }[invitation.response];
  const over = [InvitationStatus.REVOKED, InvitationStatus.EXPIRED].includes(invitation.status);
  const items: MenuItem[] = over
    ? []
    : [
        { label: t.invitations.change, run: () => setAsked("change") },
        { label: t.invitations.resend, run: () => resend.mutate({ invitationId: invitation.id }) },
        { label: t.invitations.revoke, run: () => setAsked("revoke"), danger: true },
      ];
  return (
    <li>
      <span className="who">
        <span className="clamp">{invitation.email}</span>
        <small>
          {answer}
          {invitation.startTime && ` · ${moment(locale, invitation.startTime)}`}
          {invitation.recurrence && ` · ${t.invitations.repeats[repeatOf(invitation.recurrence).repeat]}`}
        </small>
      </span>
      <span className={`badge ${status[1]}`}>{status[0]}</span>
      {items.length > 0 && (
        <Menu label={t.common.actionsFor(invitation.email)} items={items}>
          <Icon name="more" />
        </Menu>
      )}
      {asked === "change" && <ChangeDialog invitation={invitation} changed={reload} close={() => setAsked(undefined)} />}
      {asked === "revoke" && <RevokeDialog invitation={invitation} revoked={reload} close={() => setAsked(undefined)} />}
    </li>
  );
}

function RevokeDialog({ invitation, revoked, close }: { invitation: Invitation; revoked: () => void; close: () => void }) {
  const t = useTexts();
  const config = useConfig();
  const [rotatePin, setRotatePin] = useState(false);
  const revoke = useMutation(InvitationsService.method.revokeInvitation, {
    onSuccess: () => {
      revoked();
      close();
    },
  });
  return (
    <Dialog title={t.invitations.revokeTitle(invitation.email)} onClose={close}>
      <p>{t.invitations.revokeBody}</p>
      {config.telephony?.enabled && <Check label={t.invitations.rotatePin} checked={rotatePin} set={setRotatePin} />}
      <ErrorNotice error={revoke.error} />
      <div className="actions">
        <button type="button" className="button" onClick={close}>
          {t.common.cancel}
        </button>
        <button
          type="button"
          className="button danger"
          disabled={revoke.isPending}
          onClick={() => revoke.mutate({ invitationId: invitation.id, rotatePin })}
        >
          {t.invitations.revoke}
        </button>
      </div>
    </Dialog>
  );
}
