import { useQueryClient } from "@tanstack/react-query";
import {
  type AccessLevel,
  type Member,
  PhonePolicy,
  Role,
  type Room,
  type RoomConfiguration,
  RoomsService,
  TrackSource,
  UsherError,
} from "@usher-meet/client";
import { createConnectQueryKey, useInfiniteQuery, useMutation, useQuery, useTransport } from "@usher-meet/client/react";
import { type FormEvent, useEffect, useId, useState } from "react";
import { Link, useLocation } from "wouter";
import { accessLevels, invitationText, isHost, roleName } from "../rooms.ts";
import { signInAddress, useConfig, useMe } from "../session.ts";
import { useTexts } from "../texts/index.tsx";
import { Avatar } from "../ui/avatar.tsx";
import { CopyButton, Dialog, ErrorNotice, Loading, useToaster } from "../ui/feedback.tsx";
import { Icon } from "../ui/icons.tsx";
import { MessagePage, Page } from "../ui/page.tsx";
import { Invitations } from "./invitations-panel.tsx";
import { DialInDetails, useDialIn } from "./phone-panel.tsx";
import { RecordingList } from "./recording-list.tsx";

/** What hosts decide about a room. */
export function RoomSettings({ room: slug }: { room: string }) {
  const t = useTexts();
  const me = useMe();
  const config = useConfig();
  const { data, error, refetch } = useQuery(RoomsService.method.getRoom, { room: slug });
  if (me === null) {
    return (
      <MessagePage title={t.signInNeeded.title} body={t.signInNeeded.body}>
        <a className="button primary" href={signInAddress(config)}>
          {t.header.signIn}
        </a>
      </MessagePage>
    );
  }
  if (error) {
    const none = UsherError.from(error).reason === "ROOM_NOT_FOUND";
    return (
      <Page title={t.notFound.title} narrow>
        <ErrorNotice error={error} {...(!none && { retry: () => refetch() })} />
        <Link href="/" className="button">
          {t.common.home}
        </Link>
      </Page>
    );
  }
  if (!data?.room || me === undefined) return <Loading />;
  const room = data.room;
  if (!isHost(room.myRole)) {
    return (
      <MessagePage title={t.settings.title(room.name)} body={t.settings.readOnly}>
        <Link href={`/${room.slug}`} className="button primary">
          {t.settings.enter}
        </Link>
      </MessagePage>
    );
  }
  return (
    <Page title={t.settings.title(room.name)} narrow>
      <header className="row wrap">
        <h1 className="grow clamp">{room.name}</h1>
        <Link href={`/${room.slug}`} className="button">
          {t.settings.enter}
        </Link>
      </header>
      <General room={room} />
      <Access room={room} />
      <InMeeting room={room} />
      {config.telephony?.enabled && <Phone room={room} />}
      <Members room={room} />
      {config.invitations?.enabled && <Invitations room={room} />}
      {config.recording?.enabled && <RecordingList room={room} />}
      {room.myRole === Role.OWNER && <Danger room={room} />}
    </Page>
  );
}

/** A change of a room, as the form asks for it. */
interface Change {
  name?: string;
  accessLevel?: AccessLevel;
  configuration?: Partial<RoomConfiguration>;
}

/**
 * Saves one thing about a room, and shows what the server made of it. `now` is the room as it will be: until the answer is there,
 * with what was asked for.
 */
function useUpdate(room: Room) {
  const t = useTexts();
  const { tell } = useToaster();
  const queries = useQueryClient();
  const transport = useTransport();
  const [asked, setAsked] = useState<Change>({});
  const update = useMutation(RoomsService.method.updateRoom, {
    onSuccess: () => tell(t.common.saved),
    // When somebody else was faster too: it is over when the page shows what is stored.
    onSettled: () =>
      queries.invalidateQueries({
        queryKey: createConnectQueryKey({ schema: RoomsService.method.getRoom, transport, cardinality: "finite" }),
      }),
  });
  const save = (change: Change, paths: string[]) => {
    const { configuration, ...rest } = change;
    setAsked(change);
    update.mutate({
      room: { id: room.id, etag: room.etag, ...rest, ...(configuration && { configuration: plain(configuration) }) },
      updateMask: { paths },
    });
  };
  const now = !update.isPending
    ? room
    : ({ ...room, ...asked, configuration: { ...room.configuration, ...asked.configuration } } as Room);
  return { save, now, error: update.error, pending: update.isPending };
}

/** The fields of a message without its type, as input of another one. */
function plain<T extends object>(message: T): Omit<T, "$typeName" | "$unknown"> {
  const { $typeName: _, $unknown: __, ...fields } = message as T & { $typeName?: unknown; $unknown?: unknown };
  return fields as Omit<T, "$typeName" | "$unknown">;
}

function General({ room }: { room: Room }) {
  const t = useTexts();
  const id = useId();
  const [name, setName] = useState(room.name);
  useEffect(() => setName(room.name), [room.name]);
  const { save, error, pending } = useUpdate(room);
  const { dialIn } = useDialIn(room);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save({ name }, ["name"]);
  };
  return (
    <section className="card stack">
      <h2>{t.settings.general}</h2>
      <form className="field" onSubmit={submit}>
        <label htmlFor={`${id}-name`}>{t.settings.name}</label>
        <div className="row">
          <input id={`${id}-name`} value={name} maxLength={500} required onChange={(event) => setName(event.target.value)} />
          <button type="submit" className="button" disabled={pending || name.trim() === "" || name === room.name}>
            {t.common.save}
          </button>
        </div>
      </form>
      <div className="field">
        <span className="label">{t.settings.link}</span>
        <div className="row wrap">
          <code className="clamp">{room.webUrl}</code>
          <CopyButton text={room.webUrl} label={t.common.copy} />
          <CopyButton text={invitationText(t, room, dialIn)} label={t.invitation.copy} />
        </div>
      </div>
      <ErrorNotice error={error} />
    </section>
  );
}

function Access({ room }: { room: Room }) {
  const t = useTexts();
  const id = useId();
  const { save, now, error, pending } = useUpdate(room);
  return (
    <section className="card stack">
      <fieldset className="choices" disabled={pending}>
        <legend>
          <h2>{t.settings.access}</h2>
        </legend>
        {accessLevels(t).map((one) => (
          <label key={one.level} className="choice">
            <input
              type="radio"
              name={`${id}-access`}
              checked={now.accessLevel === one.level}
              aria-describedby={`${id}-${one.level}`}
              onChange={() => save({ accessLevel: one.level }, ["access_level"])}
            />
            <Icon name={one.icon} />
            <span>
              <b>{one.name}</b>
              <small id={`${id}-${one.level}`}>{one.hint}</small>
            </span>
          </label>
        ))}
      </fieldset>
      <ErrorNotice error={error} />
    </section>
  );
}

function InMeeting({ room }: { room: Room }) {
  const t = useTexts();
  const config = useConfig();
  const { save, now, error, pending } = useUpdate(room);
  const configuration = now.configuration;
  const restricted = configuration?.restrictSources ?? false;
  const allowed = new Set(restricted ? configuration?.canPublishSources : config.roomDefaults?.canPublishSources);
  const paths = ["configuration.restrict_sources", "configuration.can_publish_sources"];
  const toggle = (sources: TrackSource[], on: boolean) => {
    const next = new Set(allowed);
    for (const source of sources) on ? next.add(source) : next.delete(source);
    save({ configuration: { restrictSources: true, canPublishSources: [...next] } }, paths);
  };
  const kinds = [
    { name: t.settings.source.microphone, sources: [TrackSource.MICROPHONE] },
    { name: t.settings.source.camera, sources: [TrackSource.CAMERA] },
    { name: t.settings.source.screen, sources: [TrackSource.SCREEN_SHARE, TrackSource.SCREEN_SHARE_AUDIO] },
  ];
  return (
    <section className="card stack">
      <h2>{t.settings.meeting}</h2>
      <fieldset className="choices" disabled={pending}>
        <legend>{t.settings.sources}</legend>
        <p className="muted">{t.settings.sourcesHint}</p>
        <label className="choice compact">
          <input
            type="checkbox"
            checked={restricted}
            onChange={(event) =>
              save(
                {
                  configuration: {
                    restrictSources: event.target.checked,
                    canPublishSources: event.target.checked ? [...allowed] : [],
                  },
                },
                paths,
              )
            }
          />
          <span>{t.settings.restrict}</span>
        </label>
        <div className="indented">
          {kinds.map(({ name, sources }) => (
            <label key={name} className="choice compact">
              <input
                type="checkbox"
                disabled={!restricted}
                checked={sources.every((source) => allowed.has(source))}
                onChange={(event) => toggle(sources, event.target.checked)}
              />
              <span>{name}</span>
            </label>
          ))}
        </div>
      </fieldset>
      <label className="choice compact">
        <input
          type="checkbox"
          disabled={pending}
          checked={configuration?.everyoneCanMute ?? true}
          onChange={(event) =>
            save({ configuration: { everyoneCanMute: event.target.checked } }, ["configuration.everyone_can_mute"])
          }
        />
        <span>
          {t.settings.everyoneCanMute}
          <small>{t.settings.everyoneCanMuteHint}</small>
        </span>
      </label>
      <ErrorNotice error={error} />
    </section>
  );
}

function Phone({ room }: { room: Room }) {
  const t = useTexts();
  const id = useId();
  const { save, now, error, pending } = useUpdate(room);
  const policies: [PhonePolicy, string][] = [
    [PhonePolicy.UNSPECIFIED, t.settings.phonePolicies.standard],
    [PhonePolicy.LOBBY, t.settings.phonePolicies.lobby],
    [PhonePolicy.DIRECT, t.settings.phonePolicies.direct],
    [PhonePolicy.REFUSE, t.settings.phonePolicies.refuse],
  ];
  return (
    <section className="card stack">
      <h2>{t.settings.phone}</h2>
      <div className="field">
        <label htmlFor={`${id}-policy`}>{t.settings.phonePolicy}</label>
        <select
          id={`${id}-policy`}
          disabled={pending}
          value={now.configuration?.phonePolicy ?? PhonePolicy.UNSPECIFIED}
          onChange={(event) =>
            save({ configuration: { phonePolicy: Number(event.target.value) } }, ["configuration.phone_policy"])
          }
        >
          {policies.map(([policy, words]) => (
            <option key={policy} value={policy}>
              {words}
            </option>
          ))}
        </select>
      </div>
      <ErrorNotice error={error} />
      <DialInDetails room={room} />
    </section>
  );
}

type Identifier = { case: "userId"; value: string } | { case: "email"; value: string };

function identifierOf(member: Member): Identifier {
  return member.user ? { case: "userId", value: member.user.id } : { case: "email", value: member.email };
}

function Members({ room }: { room: Room }) {
  const t = useTexts();
  const members = useInfiniteQuery(
    RoomsService.method.listMembers,
    { room: room.id, pageToken: "", pageSize: 50 },
    { pageParamKey: "pageToken", getNextPageParam: (page) => page.nextPageToken || undefined },
  );
  const all = members.data?.pages.flatMap((page) => page.members) ?? [];
  const reload = () => members.refetch();
  return (
    <section className="card stack">
      <h2>{t.settings.members}</h2>
      <p className="muted">{t.settings.membersHint}</p>
      <ErrorNotice error={members.error} retry={reload} />
      {members.isPending && <Loading />}
      <ul className="people">
        {all.map((member) => (
          <MemberRow key={member.user?.id ?? member.email} room={room} member={member} reload={reload} />
        ))}
      </ul>
      {members.hasNextPage && (
        <button
          type="button"
          className="button"
          disabled={members.isFetchingNextPage}
          onClick={() => members.fetchNextPage()}
        >
          {t.common.more}
        </button>
      )}
      <AddMember room={room} reload={reload} />
    </section>
  );
}

function MemberRow({ room, member, reload }: { room: Room; member: Member; reload: () => Promise<unknown> }) {
  const t = useTexts();
  const me = useMe();
  const [, go] = useLocation();
  const { fail } = useToaster();
  const name = member.user?.displayName || member.email;
  const self = me?.id === member.user?.id;
  const update = useMutation(RoomsService.method.updateMember, { onSuccess: reload, onError: fail });
  const remove = useMutation(RoomsService.method.removeMember, { onError: fail });
  const owner = room.myRole === Role.OWNER;
  // The server refuses what is not offered here.
  const changeable = member.role === Role.OWNER ? self || (owner && member.pending) : true;
  const roles = [Role.MEMBER, Role.ADMINISTRATOR, Role.OWNER].filter((role) => role !== Role.OWNER || owner);
  return (
    <li className="person">
      <Avatar name={name} />
      <span className="who">
        <span className="clamp">
          {name}
          {self && ` (${t.common.you})`}
        </span>
        <small className="muted clamp">{member.pending ? `${t.settings.pending}` : member.email}</small>
      </span>
      {changeable ? (
        <select
          aria-label={t.settings.roleOf(name)}
          value={update.isPending ? (update.variables?.role ?? member.role) : member.role}
          disabled={update.isPending}
          onChange={(event) =>
            update.mutate({ room: room.id, identifier: identifierOf(member), role: Number(event.target.value) })
          }
        >
          {roles.map((role) => (
            <option key={role} value={role}>
              {roleName(t, role)}
            </option>
          ))}
        </select>
      ) : (
        <span className="muted">{roleName(t, member.role)}</span>
      )}
      {changeable && (
        <button
          type="button"
          className="icon-button"
          aria-label={self ? t.settings.leaveRoom : t.settings.removeMember(name)}
          title={self ? t.settings.leaveRoom : t.settings.removeMember(name)}
          disabled={remove.isPending}
          onClick={() =>
            remove.mutate(
              { room: room.id, identifier: identifierOf(member) },
              { onSuccess: () => (self ? go("/") : reload()) },
            )
          }
        >
          <Icon name="trash" />
        </button>
      )}
    </li>
  );
}

function AddMember({ room, reload }: { room: Room; reload: () => Promise<unknown> }) {
  const t = useTexts();
  const id = useId();
  const [email, setEmail] = useState("");
  const [role, setRole] = useState(Role.MEMBER);
  const add = useMutation(RoomsService.method.addMember);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    add.mutate(
      { room: room.id, identifier: { case: "email", value: email.trim() }, role },
      {
        onSuccess: () => {
          setEmail("");
          reload();
        },
      },
    );
  };
  const roles = [Role.MEMBER, Role.ADMINISTRATOR, Role.OWNER].filter(
    (one) => one !== Role.OWNER || room.myRole === Role.OWNER,
  );
  return (
    <form className="stack" onSubmit={submit} aria-label={t.settings.addMember}>
      <div className="row wrap end">
        <div className="field grow">
          <label htmlFor={`${id}-email`}>{t.settings.email}</label>
          <input
            id={`${id}-email`}
            type="email"
            required
            maxLength={254}
            autoComplete="off"
            value={email}
            onChange={(event) => setEmail(event.target.value)}
          />
        </div>
        <div className="field">
          <label htmlFor={`${id}-role`}>{t.settings.role}</label>
          <select id={`${id}-role`} value={role} onChange={(event) => setRole(Number(event.target.value))}>
            {roles.map((one) => (
              <option key={one} value={one}>
                {roleName(t, one)}
              </option>
            ))}
          </select>
        </div>
        <button type="submit" className="button primary" disabled={add.isPending}>
          {t.settings.add}
        </button>
      </div>
      <ErrorNotice error={add.error} />
    </form>
  );
}

function Danger({ room }: { room: Room }) {
  const t = useTexts();
  const [, go] = useLocation();
  const [asked, setAsked] = useState(false);
  const remove = useMutation(RoomsService.method.deleteRoom, { onSuccess: () => go("/") });
  return (
    <section className="card stack">
      <h2>{t.settings.danger}</h2>
      <p className="muted">{t.settings.dangerHint}</p>
      <div>
        <button type="button" className="button danger" onClick={() => setAsked(true)}>
          <Icon name="trash" />
          {t.settings.delete}
        </button>
      </div>
      {asked && (
        <Dialog title={t.settings.deleteTitle(room.name)} onClose={() => setAsked(false)}>
          <p>{t.settings.deleteBody}</p>
          <ErrorNotice error={remove.error} />
          <div className="actions">
            <button type="button" className="button" onClick={() => setAsked(false)}>
              {t.common.cancel}
            </button>
            <button
              type="button"
              className="button danger"
              disabled={remove.isPending}
              onClick={() => remove.mutate({ room: room.id })}
            >
              {t.settings.delete}
            </button>
          </div>
        </Dialog>
      )}
    </section>
  );
}
