import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { useIsSpeaking } from "@livekit/components-react";
import {
  Decision,
  type Entry,
  EntryKind,
  LobbyService,
  ParticipantsService,
  Role,
  type Room,
  type UsherClient,
} from "@usher-meet/client";
import { useMutation, useUsher, type useWaiting } from "@usher-meet/client/react";
import { type Participant, Track } from "livekit-client";
import { type FormEvent, useId, useState } from "react";
import { clock } from "../recordings.ts";
import { useLanguage, useTexts } from "../texts/index.tsx";
import { Avatar } from "../ui/avatar.tsx";
import { Dialog, ErrorNotice, useToaster } from "../ui/feedback.tsx";
import { Icon } from "../ui/icons.tsx";
import { Menu, type MenuItem } from "../ui/menu.tsx";
import { detailsOf, isHostHere, nameOf, usePeople } from "./people.ts";
import { SidePanel } from "./side-panel.tsx";

type Waiting = ReturnType<typeof useWaiting>;

/** Who is in the meeting, and for hosts who waits, with what can be done about them. */
export function PeoplePanel({
  room,
  host,
  self,
  waiting,
  close,
}: {
  room: Room;
  host: boolean;
  self: UsherClient;
  waiting: Waiting;
  close: () => void;
}) {
  const t = useTexts();
  const usher = useUsher();
  const { tell, fail } = useToaster();
  const people = sorted(usePeople());
  const me = people.find((p) => p.isLocal);
  const muteAll = () =>
    usher.participants
      .muteAllParticipants({ room: room.id, exceptIdentities: me ? [me.identity] : [] })
      .then(({ mutedCount }) => tell(t.people.mutedCount(mutedCount)), fail);
  return (
    <SidePanel title={t.people.title} close={close}>
      {host && <WaitingList room={room} waiting={waiting} />}
      <section aria-labelledby="in-meeting">
        <header className="row wrap">
          <h3 id="in-meeting">{t.people.inMeeting(people.length)}</h3>
          {host && people.length > 1 && (
            <button type="button" className="button small" onClick={muteAll}>
              {t.people.muteAll}
            </button>
          )}
        </header>
        <ul className="people">
          {people.map((p) => (
            <Person key={p.identity} room={room} host={host} self={self} person={p} />
          ))}
        </ul>
      </section>
    </SidePanel>
  );
}

/** Raised hands first, in the order in which they went up, then oneself, then by time. */
function sorted(people: Participant[]): Participant[] {
  const hand = (p: Participant) => detailsOf(p).hand?.getTime() ?? Number.POSITIVE_INFINITY;
  return people.toSorted((a, b) => {
    const [x, y] = [hand(a), hand(b)];
    if (x !== y) return x < y ? -1 : 1;
    return Number(b.isLocal) - Number(a.isLocal) || (a.joinedAt?.getTime() ?? 0) - (b.joinedAt?.getTime() ?? 0);
  });
}

function WaitingList({ room, waiting }: { room: Room; waiting: Waiting }) {
  const t = useTexts();
  const entries = waiting.value?.entries ?? [];
  const all = useMutation(LobbyService.method.decideAllEntries);
  if (entries.length === 0 && !waiting.error && waiting.state !== "reconnecting") return null;
  return (
    <section aria-labelledby="at-the-door" className="waiting">
      <header className="row wrap">
        <h3 id="at-the-door">{t.people.waiting(entries.length)}</h3>
        {entries.length > 1 && (
          <button
            type="button"
            className="button small primary"
            disabled={all.isPending}
            onClick={() =>
              all.mutate({ room: room.id, entries: entries.map(({ id, etag }) => ({ id, etag })), decision: Decision.ALLOW })
            }
          >
            {t.people.admitAll}
          </button>
        )}
      </header>
      {waiting.state === "reconnecting" && (
        <p className="muted" role="status">
          {t.people.reconnecting}
        </p>
      )}
      <ErrorNotice error={waiting.error ?? all.error} {...(waiting.error && { retry: waiting.restart })} />
      <ul className="people">
        {entries.map((entry) => (
          <Waiter key={entry.id} room={room} entry={entry} />
        ))}
      </ul>
    </section>
  );
}

function Waiter({ room, entry }: { room: Room; entry: Entry }) {
  const t = useTexts();
  const { locale } = useLanguage();
  const { fail } = useToaster();
  const decide = useMutation(LobbyService.method.decideEntry, { onError: fail });
  const say = (decision: Decision) => decide.mutate({ room: room.id, entryId: entry.id, etag: entry.etag, decision });
  const since = clock(locale, entry.requestTime);
  return (
    <li className="person">
      <Avatar name={entry.displayName} color={entry.color} />
      <span className="who">
        <span className="clamp" title={entry.displayName}>
          {entry.displayName}
        </span>
        <small className="muted">
          {entry.kind === EntryKind.PHONE ? t.people.phone : entry.authenticated ? entry.user?.displayName : t.common.guest}
          {since && ` · ${t.people.waitingSince(since)}`}
        </small>
      </span>
      <span className="actions">
        <button
          type="button"
          className="button small"
          aria-label={t.people.denyOne(entry.displayName)}
          disabled={decide.isPending}
          onClick={() => say(Decision.DENY)}
        >
          {t.people.deny}
        </button>
        <button
          type="button"
          className="button small primary"
          aria-label={t.people.admitOne(entry.displayName)}
          disabled={decide.isPending}
          onClick={() => say(Decision.ALLOW)}
        >
          {t.people.admit}
        </button>
      </span>
    </li>
  );
}

type Asked = "rename" | "remove";

function Person({ room, host, self, person }: { room: Room; host: boolean; self: UsherClient; person: Participant }) {
  const t = useTexts();
  const details = detailsOf(person);
  const speaking = useIsSpeaking(person);
  const [asked, setAsked] = useState<Asked | undefined>();
  const name = nameOf(person);
  const items = useActions(room, host, self, person, setAsked);
  return (
    <li className={speaking ? "person speaking" : "person"}>
      <Avatar name={name} color={details.color} />
      <span className="who">
        <span className="clamp" title={name}>
          {name}
          {person.isLocal && ` (${t.common.you})`}
        </span>
        <small className="muted">
          {isHostHere(details) && t.people.host}
          {details.role === "member" && t.people.member}
          {details.phone && t.people.phone}
          {!details.authenticated && !details.phone && <span className="guest">{t.common.guest}</span>}
        </small>
      </span>
      {details.hand && (
        <span className="hand-up" title={t.call.handUp}>
          <Icon name="hand" />
          <span className="hidden">{t.call.handUp}</span>
        </span>
      )}
      <span className={person.isMicrophoneEnabled ? "mic" : "mic off"}>
        <Icon name={person.isMicrophoneEnabled ? "mic" : "micOff"} />
        {!person.isMicrophoneEnabled && <span className="hidden">{t.call.muted}</span>}
      </span>
      {items.length > 0 && (
        <Menu label={t.common.actionsFor(name)} items={items}>
          <Icon name="more" />
        </Menu>
      )}
      {asked === "rename" && <RenameDialog room={room} self={self} person={person} close={() => setAsked(undefined)} />}
      {asked === "remove" && <RemoveDialog room={room} person={person} close={() => setAsked(undefined)} />}
    </li>
  );
}

/** What the local participant may do about somebody. The server decides again. */
function useActions(
  room: Room,
  host: boolean,
  self: UsherClient,
  person: Participant,
  ask: (asked: Asked) => void,
): (MenuItem | "separator")[] {
  const t = useTexts();
  const usher = useUsher();
  const { fail } = useToaster();
  const details = detailsOf(person);
  const about = { room: room.id, participantIdentity: person.identity };
  const by = host ? usher : self;
  const items: (MenuItem | "separator")[] = [];
  const everyone = room.configuration?.everyoneCanMute ?? true;
  const mayMute = host || (everyone && !isHostHere(details) && !details.phone);
  if (!person.isLocal && person.isMicrophoneEnabled && mayMute) {
    items.push({ label: t.people.mute, run: () => void by.participants.muteParticipant(about).catch(fail) });
  }
  // Callers cannot unmute themselves. Those whom the lobby holds are not in this list.
  if (host && details.phone && !person.isMicrophoneEnabled) {
    items.push({ label: t.call.unmute, run: () => void usher.participants.unmuteParticipant(about).catch(fail) });
  }
  if (host && !person.isLocal) {
    for (const [source, label] of [
      [Track.Source.Camera, t.people.stopCamera],
      [Track.Source.ScreenShare, t.people.stopShare],
    ] as const) {
      const track = person.getTrackPublication(source);
      if (!track || track.isMuted) continue;
      items.push({
        label,
        run: () => void usher.participants.muteParticipant({ ...about, trackSid: track.trackSid }).catch(fail),
      });
    }
    if (details.hand)
      items.push({ label: t.people.lowerHand, run: () => void usher.participants.lowerHand(about).catch(fail) });
  }
  if (person.isLocal || (host && !details.phone)) items.push({ label: t.people.rename, run: () => ask("rename") });
  if (host && !person.isLocal && details.authenticated && details.role !== "owner") {
    const administrator = details.role === "administrator";
    items.push({
      label: administrator ? t.people.makeMember : t.people.makeAdministrator,
      run: () =>
        void usher.participants
          .setParticipantRole({ ...about, role: administrator ? Role.MEMBER : Role.ADMINISTRATOR })
          .catch(fail),
    });
  }
  if (host && !person.isLocal && (details.role !== "owner" || room.myRole === Role.OWNER)) {
    items.push("separator", { label: t.people.remove, run: () => ask("remove"), danger: true });
  }
  return items;
}

function RenameDialog({
  room,
  self,
  person,
  close,
}: {
  room: Room;
  self: UsherClient;
  person: Participant;
  close: () => void;
}) {
  const t = useTexts();
  const id = useId();
  const usher = useUsher();
  const [name, setName] = useState(nameOf(person));
  const [error, setError] = useState<unknown>();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const done = person.isLocal
      ? self.participants.rename({ displayName: name.trim() })
      : usher.participants.updateParticipant({
          room: room.id,
          participantIdentity: person.identity,
          displayName: name.trim(),
        });
    done.then(close, setError);
  };
  return (
    <Dialog title={t.people.rename} onClose={close}>
      <form className="stack" onSubmit={submit}>
        <div className="field">
          <label htmlFor={`${id}-name`}>{t.people.newName}</label>
          <input id={`${id}-name`} value={name} maxLength={100} required onChange={(event) => setName(event.target.value)} />
        </div>
        <ErrorNotice error={error} />
        <div className="actions">
          <button type="button" className="button" onClick={close}>
            {t.common.cancel}
          </button>
          <button type="submit" className="button primary">
            {t.common.save}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** A day, in milliseconds: how long an account that is kept out stays out. */
const day = 24 * 60 * 60 * 1000;

function RemoveDialog({ room, person, close }: { room: Room; person: Participant; close: () => void }) {
  const t = useTexts();
  const [block, setBlock] = useState(false);
  const remove = useMutation(ParticipantsService.method.removeParticipant, { onSuccess: close });
  return (
    <Dialog title={t.people.removeTitle(nameOf(person))} onClose={close}>
      <p>{t.people.removeBody}</p>
      {detailsOf(person).authenticated && (
        <label className="choice compact">
          <input type="checkbox" checked={block} onChange={(event) => setBlock(event.target.checked)} />
          <span>{t.people.block}</span>
        </label>
      )}
      <ErrorNotice error={remove.error} />
      <div className="actions">
        <button type="button" className="button" onClick={close}>
          {t.common.cancel}
        </button>
        <button
          type="button"
          className="button danger"
          disabled={remove.isPending}
          onClick={() =>
            remove.mutate({
              room: room.id,
              participantIdentity: person.identity,
              ...(block && { blockDuration: durationFromMs(day) }),
            })
          }
        >
          {t.people.remove}
        </button>
      </div>
    </Dialog>
  );
}
