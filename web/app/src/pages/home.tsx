import { AccessLevel, type Room, RoomsService } from "@usher-meet/client";
import { useInfiniteQuery, useMutation } from "@usher-meet/client/react";
import { type FormEvent, useDeferredValue, useId, useState } from "react";
import { Link, useLocation } from "wouter";
import { accessLevels, invitationText, isHost, roleName, roomIn } from "../rooms.ts";
import { signInAddress, useConfig, useMe } from "../session.ts";
import { useTexts } from "../texts/index.tsx";
import { CopyButton, ErrorNotice, Loading } from "../ui/feedback.tsx";
import { Icon } from "../ui/icons.tsx";
import { Page } from "../ui/page.tsx";

/** The front page: for whoever is signed in their rooms, for everybody a way in. */
export function Home() {
  const t = useTexts();
  const config = useConfig();
  const me = useMe();
  if (me === undefined) return <Loading />;
  if (me === null) return <Welcome />;
  return (
    <Page title={t.home.title}>
      <h1 className="hidden">{t.home.title}</h1>
      <div className="columns">
        <MyRooms />
        <aside className="stack">
          {config.roomDefaults?.usersCreateRooms === false ? (
            <p className="card muted">{t.home.cannotCreate}</p>
          ) : (
            <NewRoom standard={me.defaultAccessLevel || config.roomDefaults?.accessLevel || AccessLevel.RESTRICTED} />
          )}
          <JoinByCode />
        </aside>
      </div>
    </Page>
  );
}

function Welcome() {
  const t = useTexts();
  const config = useConfig();
  const address = signInAddress(config);
  return (
    <Page title={config.branding?.name || "Usher"}>
      <div className="welcome">
        <div>
          <h1>{t.home.welcome}</h1>
          <p className="lead">{t.home.lead}</p>
          <ul className="points">
            {t.home.points.map((point) => (
              <li key={point}>
                <Icon name="check" />
                {point}
              </li>
            ))}
          </ul>
          {address && (
            <a className="button primary large" href={address}>
              {t.header.signIn}
              <Icon name="arrow" />
            </a>
          )}
        </div>
        <div className="threshold">
          <Threshold />
          <JoinByCode />
        </div>
      </div>
    </Page>
  );
}

/** The picture of the front page: light falls through an open door. */
function Threshold() {
  return (
    <svg viewBox="0 0 420 300" aria-hidden="true" className="picture">
      <path className="wall" d="M0 0h420v300H0z" />
      <path className="beam" d="M150 250 60 300h300l-90-50z" />
      <path className="opening" d="M150 250V120a60 60 0 0 1 120 0v130z" />
      <path className="leaf" d="M150 250V120a60 60 0 0 1 34-54v212z" />
      <circle className="knob" cx="174" cy="176" r="4" />
      <path className="floor" d="M0 250h150M270 250h150" />
    </svg>
  );
}

function NewRoom({ standard }: { standard: AccessLevel }) {
  const t = useTexts();
  const id = useId();
  const [, go] = useLocation();
  const [name, setName] = useState("");
  const [level, setLevel] = useState(standard);
  const create = useMutation(RoomsService.method.createRoom);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    create.mutate(
      { name, accessLevel: level, requestId: crypto.randomUUID() },
      { onSuccess: ({ room }) => room && go(`/${room.slug}`) },
    );
  };
  return (
    <form className="card stack" onSubmit={submit} aria-labelledby={`${id}-title`}>
      <h2 id={`${id}-title`}>{t.home.newRoom}</h2>
      <div className="field">
        <label htmlFor={`${id}-name`}>{t.home.name}</label>
        <input
          id={`${id}-name`}
          value={name}
          maxLength={500}
          placeholder={t.home.namePlaceholder}
          aria-describedby={`${id}-hint`}
          onChange={(event) => setName(event.target.value)}
        />
        <small id={`${id}-hint`}>{t.home.nameHint}</small>
      </div>
      <fieldset className="choices">
        <legend>{t.settings.access}</legend>
        {accessLevels(t).map((one) => (
          <label key={one.level} className="choice compact">
            <input type="radio" name={`${id}-level`} checked={level === one.level} onChange={() => setLevel(one.level)} />
            <Icon name={one.icon} />
            <span>{one.name}</span>
          </label>
        ))}
      </fieldset>
      <ErrorNotice error={create.error} />
      <button type="submit" className="button primary" disabled={create.isPending}>
        <Icon name="plus" />
        {t.home.create}
      </button>
    </form>
  );
}

function JoinByCode() {
  const t = useTexts();
  const id = useId();
  const [, go] = useLocation();
  const [typed, setTyped] = useState("");
  const [invalid, setInvalid] = useState(false);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const room = roomIn(typed, location.origin);
    setInvalid(room === undefined);
    if (room !== undefined) go(`/${encodeURIComponent(room)}`);
  };
  return (
    <form className="card stack" onSubmit={submit} aria-labelledby={`${id}-title`}>
      <h2 id={`${id}-title`}>{t.home.join}</h2>
      <div className="field">
        <label htmlFor={`${id}-code`}>{t.home.code}</label>
        <div className="row">
          <input
            id={`${id}-code`}
            value={typed}
            required
            autoCapitalize="none"
            autoComplete="off"
            spellCheck={false}
            placeholder={t.home.codePlaceholder}
            aria-invalid={invalid}
            aria-describedby={invalid ? `${id}-error` : undefined}
            onChange={(event) => setTyped(event.target.value)}
          />
          <button type="submit" className="button">
            {t.home.go}
          </button>
        </div>
        {invalid && (
          <small id={`${id}-error`} className="error" role="alert">
            {t.home.codeInvalid}
          </small>
        )}
      </div>
    </form>
  );
}

function MyRooms() {
  const t = useTexts();
  const [typed, setTyped] = useState("");
  const query = useDeferredValue(typed.trim());
  const rooms = useInfiniteQuery(
    RoomsService.method.listRooms,
    { query, pageToken: "", pageSize: 20 },
    {
      pageParamKey: "pageToken",
      getNextPageParam: (page) => page.nextPageToken || undefined,
      placeholderData: (before) => before,
    },
  );
  const all = rooms.data?.pages.flatMap((page) => page.rooms) ?? [];
  const empty = !rooms.isPending && !rooms.error && all.length === 0;
  return (
    <section aria-labelledby="my-rooms" className="stack">
      <header className="row wrap">
        <h2 id="my-rooms" className="grow">
          {t.home.mine}
        </h2>
        {(typed !== "" || all.length > 5) && (
          <label className="search">
            <span className="hidden">{t.home.search}</span>
            <Icon name="search" />
            <input
              type="search"
              value={typed}
              maxLength={100}
              placeholder={t.home.search}
              onChange={(event) => setTyped(event.target.value)}
            />
          </label>
        )}
      </header>
      <ErrorNotice error={rooms.error} retry={() => rooms.refetch()} />
      {rooms.isPending && <Loading />}
      {empty && (
        <div className="empty">
          <Icon name="door" />
          <p>
            <b>{query ? t.home.noMatch : t.home.none}</b>
          </p>
          {!query && <p>{t.home.noneHint}</p>}
        </div>
      )}
      <ul className="rooms">
        {all.map((room) => (
          <RoomCard key={room.id} room={room} />
        ))}
      </ul>
      {rooms.hasNextPage && (
        <button type="button" className="button" disabled={rooms.isFetchingNextPage} onClick={() => rooms.fetchNextPage()}>
          {t.common.more}
        </button>
      )}
    </section>
  );
}

function RoomCard({ room }: { room: Room }) {
  const t = useTexts();
  const access = accessLevels(t).find((one) => one.level === room.accessLevel);
  return (
    <li className="room card">
      <div className="room-name">
        <h3>
          <Link href={`/${room.slug}`}>{room.name}</Link>
        </h3>
        <p className="muted">
          {access && (
            <span className="with-icon">
              <Icon name={access.icon} />
              {access.name}
            </span>
          )}
          <span>{roleName(t, room.myRole)}</span>
          {room.live?.active && <span className="live">{t.home.live(room.live.participantCount)}</span>}
        </p>
      </div>
      <div className="row">
        <CopyButton className="button quiet" text={invitationText(t, room)} label={t.home.invite} />
        {isHost(room.myRole) && (
          <Link
            href={`/-/rooms/${room.slug}`}
            className="icon-button"
            aria-label={t.settings.title(room.name)}
            title={t.home.settings}
          >
            <Icon name="settings" />
          </Link>
        )}
        <Link href={`/${room.slug}`} className="button">
          {t.home.enter}
        </Link>
      </div>
    </li>
  );
}
