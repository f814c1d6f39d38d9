import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { Entry, Room } from "@usher-meet/client";
import { useUsher } from "@usher-meet/client/react";
import { useEffect, useState } from "react";
import { clock } from "../recordings.ts";
import { useLanguage, useTexts } from "../texts/index.tsx";
import { ErrorNotice } from "../ui/feedback.tsx";
import { Icon } from "../ui/icons.tsx";
import { MessagePage, Page } from "../ui/page.tsx";
import { type Choices, Preview } from "./prejoin.tsx";

/** The page of a guest who waits: their place, live, and a way out. */
export function Lobby({
  room,
  entry,
  reconnecting,
  choices,
  change,
  giveUp,
}: {
  room: Room;
  entry: Entry;
  reconnecting: boolean;
  choices: Choices;
  change: (to: Partial<Choices>) => void;
  giveUp: () => void;
}) {
  const t = useTexts();
  const usher = useUsher();
  const [error, setError] = useState<unknown>();
  const leave = async () => {
    try {
      await usher.lobby.cancelEntry({ room: room.id, ticket: entry.ticket });
      giveUp();
    } catch (thrown) {
      setError(thrown);
    }
  };
  return (
    <Page title={t.lobby.title}>
      <div className="prejoin">
        <Preview name={entry.displayName} choices={choices} change={change} />
        <div className="stack">
          <p className="eyebrow clamp">{room.name}</p>
          <h1>{t.lobby.title}</h1>
          <p className="place" role="status" aria-live="polite">
            <span className="beacon" aria-hidden="true" />
            <b>{t.lobby.position(entry.position || 1)}</b>
          </p>
          <p>{entry.hostPresent ? t.lobby.waiting : t.lobby.noHost}</p>
          <p className="muted clamp">{t.lobby.as(entry.displayName)}</p>
          {reconnecting && (
            <p className="notice" role="status">
              {t.lobby.reconnecting}
            </p>
          )}
          <ErrorNotice error={error} />
          <button type="button" className="button" onClick={leave}>
            <Icon name="leave" />
            {t.lobby.leave}
          </button>
        </div>
      </div>
    </Page>
  );
}

/** The page of a guest who was turned away. It says when asking again is of use. */
export function Denied({ room, entry, again }: { room: Room; entry: Entry; again: () => void }) {
  const t = useTexts();
  const { locale } = useLanguage();
  const until = entry.expireTime && timestampDate(entry.expireTime);
  const [over, setOver] = useState(() => !until || until.getTime() <= Date.now());
  const time = until?.getTime();
  useEffect(() => {
    if (time === undefined) return;
    const timer = setTimeout(() => setOver(true), Math.min(Math.max(0, time - Date.now()), 2 ** 31 - 1));
    return () => clearTimeout(timer);
  }, [time]);
  const from = clock(locale, entry.expireTime);
  return (
    <MessagePage title={t.lobby.deniedTitle} body={t.lobby.denied}>
      <p className="muted clamp">{room.name}</p>
      {!over && from && <p>{t.lobby.deniedUntil(from)}</p>}
      <button type="button" className="button" disabled={!over} onClick={again}>
        {t.lobby.askAgain}
      </button>
    </MessagePage>
  );
}
