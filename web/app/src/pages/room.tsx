import { type Connection, EntryStatus, type Room, RoomsService, UsherError } from "@usher-meet/client";
import { useEntry, useQuery } from "@usher-meet/client/react";
import { lazy, Suspense, useCallback, useEffect, useMemo, useState } from "react";
import { Link } from "wouter";
import { invitationOf, keepPlace, keptPlace, type Place } from "../place.ts";
import { useMe } from "../session.ts";
import { useTexts } from "../texts/index.tsx";
import { ErrorNotice, Loading } from "../ui/feedback.tsx";
import { MessagePage } from "../ui/page.tsx";
import { Left, type LeftReason } from "./left.tsx";
import { Denied, Lobby } from "./lobby.tsx";
import { type Choices, PreJoin } from "./prejoin.tsx";

const Call = lazy(async () => ({ default: (await import("../call/call.tsx")).Call }));

/** The address of a room: getting ready, waiting at the door, the call, and having left. */
export function RoomPage({ room: slug }: { room: string }) {
  const t = useTexts();
  const me = useMe();
  const [invitation] = useState(() => invitationOf(slug));
  const { data, error, refetch } = useQuery(RoomsService.method.getRoom, { room: slug });
  if (UsherError.from(error ?? "").reason === "ROOM_NOT_FOUND") {
    return (
      <MessagePage title={t.notFound.title} body={t.errors.ROOM_NOT_FOUND}>
        <Link href="/" className="button primary">
          {t.common.home}
        </Link>
      </MessagePage>
    );
  }
  if (error && !data) {
    return (
      <main className="page narrow">
        <ErrorNotice error={error} retry={() => refetch()} />
      </main>
    );
  }
  if (!data?.room || me === undefined) return <Loading />;
  return <Ways room={data.room} signedInAs={me?.fullName} invitation={invitation} refresh={refetch} />;
}

/** What the visitor is about to do, and where they are with it. */
type Stage =
  | { at: "ready" }
  | { at: "asking"; choices: Choices }
  | { at: "call"; choices: Choices; connection: Connection }
  | { at: "left"; reason: LeftReason };

const silent: Choices = { name: "", camera: false, microphone: false, cameraId: "", microphoneId: "" };

function Ways({
  room,
  signedInAs,
  invitation,
  refresh,
}: {
  room: Room;
  signedInAs: string | undefined;
  invitation: string;
  refresh: () => void;
}) {
  // Who was waiting when the page was loaded anew goes on waiting, with devices off.
  const [stage, setStage] = useState<Stage>(() => {
    const place = keptPlace(room.id);
    return place?.waiting ? { at: "asking", choices: { ...silent, name: place.name, ...place.devices } } : { at: "ready" };
  });
  const back = useCallback(() => {
    refresh();
    setStage({ at: "ready" });
  }, [refresh]);
  const enter = useCallback((choices: Choices, connection: Connection) => setStage({ at: "call", choices, connection }), []);
  const leave = useCallback(
    (reason: LeftReason) => {
      // An admission that a host took back must not be shown again.
      if (reason === "removed") keepPlace(room.id, undefined);
      setStage({ at: "left", reason });
    },
    [room.id],
  );
  switch (stage.at) {
    case "ready":
      return (
        <PreJoin
          room={room}
          account={signedInAs}
          name={signedInAs ?? keptPlace(room.id)?.name ?? ""}
          join={(choices) => setStage({ at: "asking", choices })}
        />
      );
    case "asking":
      return <Asking room={room} invitation={invitation} choices={stage.choices} enter={enter} back={back} />;
    case "call":
      return (
        <Suspense fallback={<Loading />}>
          <Call room={room} choices={stage.choices} connection={stage.connection} leave={leave} ask={back} />
        </Suspense>
      );
    case "left":
      return <Left room={room} reason={stage.reason} again={back} />;
  }
}

function Asking({
  room,
  invitation,
  choices: first,
  enter,
  back,
}: {
  room: Room;
  invitation: string;
  choices: Choices;
  enter: (choices: Choices, connection: Connection) => void;
  back: () => void;
}) {
  const t = useTexts();
  const place = useMemo(() => keptPlace(room.id), [room.id]);
  // Who waits may change their mind about camera and microphone.
  const [choices, setChoices] = useState(first);
  const { name, camera, microphone } = choices;
  const keep = useCallback(
    (change: Partial<Place>) => {
      const before = keptPlace(room.id) ?? { ticket: "", name, waiting: true, devices: { camera, microphone } };
      keepPlace(room.id, { ...before, name, ...change });
    },
    [room.id, name, camera, microphone],
  );
  const { value, state, error, restart } = useEntry(room.id, {
    displayName: name,
    invitationToken: invitation,
    ticket: place?.ticket ?? "",
    onTicket: (ticket) => keep({ ticket, waiting: true }),
  });
  const admitted = value?.status === EntryStatus.ACCEPTED ? value.connection : undefined;
  useEffect(() => {
    if (!admitted) return;
    if (keptPlace(room.id)) keep({ waiting: false });
    enter(choices, admitted);
  }, [admitted, choices, enter, keep, room.id]);

  const giveUp = () => {
    keepPlace(room.id, undefined);
    back();
  };
  if (error) {
    const blocked = error.reason === "PARTICIPANT_BLOCKED";
    return (
      <MessagePage title={t.join.title(room.name)} body="">
        <ErrorNotice error={error} {...(!blocked && { retry: restart })} />
        <button type="button" className="button" onClick={giveUp}>
          {t.common.cancel}
        </button>
      </MessagePage>
    );
  }
  if (value?.status === EntryStatus.DENIED) {
    return <Denied room={room} entry={value} again={restart} />;
  }
  if (value?.status === EntryStatus.WAITING) {
    return (
      <Lobby
        room={room}
        entry={value}
        reconnecting={state === "reconnecting"}
        choices={choices}
        change={(to) => setChoices((before) => ({ ...before, ...to }))}
        giveUp={giveUp}
      />
    );
  }
  return <Loading />;
}
