import "../styles/call.css";
import { RoomContext, useConnectionState, useLocalParticipant, useRoomContext } from "@livekit/components-react";
import { useQueryClient } from "@tanstack/react-query";
import { type Connection, JoinMode, type Room, RoomsService } from "@usher-meet/client";
import { createConnectQueryKey, useQuery, useTransport, useUsher, useWaiting } from "@usher-meet/client/react";
import { ConnectionState, type DataPacket_Kind, ParticipantEvent, type RemoteParticipant, RoomEvent } from "livekit-client";
import { useEffect, useMemo, useRef, useState } from "react";
import type { LeftReason } from "../pages/left.tsx";
import type { Choices } from "../pages/prejoin.tsx";
import { isHost } from "../rooms.ts";
import { useTexts } from "../texts/index.tsx";
import { useToaster } from "../ui/feedback.tsx";
import { useTitle } from "../ui/page.tsx";
import { Sound } from "./audio.tsx";
import { useLiveRoom } from "./connection.ts";
import { Controls, type Panel } from "./controls.tsx";
import { InvitePanel } from "./invite-panel.tsx";
import { detailsOf, isHostHere, nameOf, usePeople } from "./people.ts";
import { PeoplePanel } from "./people-panel.tsx";
import { useIsRecorded, useRecorder } from "./recording.tsx";
import { serverMessage } from "./server-messages.ts";
import { Stage } from "./stage.tsx";

/** The call. Everything in it is loaded when somebody enters a meeting, not before. */
export function Call(props: {
  room: Room;
  choices: Choices;
  connection: Connection;
  leave: (reason: LeftReason) => void;
  ask: () => void;
}) {
  const t = useTexts();
  const toaster = useToaster();
  const live = useLiveRoom(props.connection, props.choices, props, () => toaster.tell(t.call.deviceFailed));
  return (
    <RoomContext.Provider value={live}>
      <Meeting {...props} />
    </RoomContext.Provider>
  );
}

/** The room as it is now for a participant: roles and settings change while the meeting goes on. */
function useRoomNow(first: Room): Room {
  const live = useRoomContext();
  const transport = useTransport();
  const queries = useQueryClient();
  const { data } = useQuery(RoomsService.method.getRoom, { room: first.id });
  useEffect(() => {
    const key = createConnectQueryKey({
      schema: RoomsService.method.getRoom,
      input: { room: first.id },
      transport,
      cardinality: "finite",
    });
    const refresh = () => void queries.invalidateQueries({ queryKey: key });
    live.on(RoomEvent.RoomMetadataChanged, refresh);
    live.localParticipant.on(ParticipantEvent.AttributesChanged, refresh);
    return () => {
      live.off(RoomEvent.RoomMetadataChanged, refresh);
      live.localParticipant.off(ParticipantEvent.AttributesChanged, refresh);
    };
  }, [live, queries, transport, first.id]);
  return data?.room ?? first;
}

function Meeting({ room: first, connection }: { room: Room; connection: Connection; leave: (reason: LeftReason) => void }) {
  const t = useTexts();
  const live = useRoomContext();
  const usher = useUsher();
  const room = useRoomNow(first);
  const state = useConnectionState();
  const [panel, setPanel] = useState<Panel | undefined>();
  const host = isHost(room.myRole);
  // Only who has a role by themselves runs the meeting: the session token of a guest watches nothing.
  const waiting = useWaiting(host ? room.id : undefined);
  const entries = waiting.value?.entries ?? [];
  const self = useMemo(() => usher.as(connection.sessionToken), [usher, connection]);
  useTitle(room.name);
  useServerMessages(waiting.state === "reconnecting" ? waiting.restart : undefined);
  useAnnouncements(
    entries.map((entry) => ({ id: entry.id, name: entry.displayName })),
    panel === "people" ? undefined : () => setPanel("people"),
  );

  const recorder = useRecorder(room, host);
  // LiveKit tells everybody that a recorder is there, and Usher tells hosts what became of it.
  const recorded = useIsRecorded() || (recorder.running && !recorder.starting);
  const connected = state === ConnectionState.Connected;
  const interrupted = state === ConnectionState.Reconnecting || state === ConnectionState.SignalReconnecting;
  return (
    <div className={panel ? "call with-panel" : "call"}>
      <header className="call-top">
        <h1 className="clamp">{room.name}</h1>
        {recorded && (
          <p className="tag recorded" role="status">
            {t.recordings.running}
          </p>
        )}
        {!connected && (
          <p className="tag" role="status">
            {interrupted ? t.call.reconnecting : t.call.connecting}
          </p>
        )}
      </header>
      <Sound />
      <Stage room={room} />
      {panel === "people" && (
        <PeoplePanel room={room} host={host} self={self} waiting={waiting} close={() => setPanel(undefined)} />
      )}
      {panel === "invite" && <InvitePanel room={room} close={() => setPanel(undefined)} />}
      <Controls
        room={room}
        host={host}
        self={self}
        panel={panel}
        toggle={(which) => setPanel((now) => (now === which ? undefined : which))}
        waiting={entries.length}
        recorder={recorder}
        canInvite={room.joinMode === JoinMode.DIRECT}
        leave={() => void live.disconnect()}
      />
    </div>
  );
}

/** Server messages are hints: whoever waits is in the stream. A stream that is about to try again does so at once. */
function useServerMessages(hint: (() => void) | undefined): void {
  const live = useRoomContext();
  const latest = useRef(hint);
  latest.current = hint;
  useEffect(() => {
    const receive = (payload: Uint8Array, sender?: RemoteParticipant, _kind?: DataPacket_Kind, topic?: string) => {
      if (serverMessage(payload, sender, topic)?.type === "participantWaiting") latest.current?.();
    };
    live.on(RoomEvent.DataReceived, receive);
    return () => {
      live.off(RoomEvent.DataReceived, receive);
    };
  }, [live]);
}

/** Tells who came to the door, whose hand went up, and that one was muted. */
function useAnnouncements(waiting: { id: string; name: string }[], show: (() => void) | undefined): void {
  const t = useTexts();
  const { tell, clear } = useToaster();
  const { localParticipant } = useLocalParticipant();
  const people = usePeople();
  const latest = useRef({ t, tell, clear, show });
  latest.current = { t, tell, clear, show };

  const known = useRef(new Set<string>());
  useEffect(() => {
    const { t, tell, clear, show } = latest.current;
    const fresh = waiting.filter((entry) => !known.current.has(entry.id));
    known.current = new Set(waiting.map((entry) => entry.id));
    const [one] = fresh;
    if (waiting.length === 0 || !show) clear("waiting");
    if (!one || !show) return; // nobody, or the list is open
    tell(
      fresh.length === 1 ? t.call.waits(one.name) : t.call.waitMany(fresh.length),
      { label: t.call.view, run: show },
      "waiting",
    );
  }, [waiting]);

  const raised = useRef(new Set<string>());
  const host = isHostHere(detailsOf(localParticipant));
  useEffect(() => {
    const { t, tell } = latest.current;
    const up = people.filter((p) => detailsOf(p).hand && !p.isLocal);
    if (host) {
      for (const p of up) if (!raised.current.has(p.identity)) tell(t.call.handRaised(nameOf(p)));
    }
    raised.current = new Set(up.map((p) => p.identity));
  }, [people, host]);
}
