import { type Connection, UsherError } from "@usher-meet/client";
import { useUsher } from "@usher-meet/client/react";
import {
  ConnectionState,
  DisconnectReason,
  Room as LiveRoom,
  LogLevel,
  RoomEvent,
  setLogLevel,
  VideoPresets,
} from "livekit-client";
import { useEffect, useRef, useState } from "react";
import type { LeftReason } from "../pages/left.tsx";
import type { Choices } from "../pages/prejoin.tsx";

/** What the page does when the call is over: it was left or ended, or its participant has to be let in anew. */
export interface Ends {
  leave: (reason: LeftReason) => void;
  ask: () => void;
}

// LiveKit's client calls it an error when the server closes a connection, which it does at the end of every meeting. What people
// can do something about, they are told on the page.
setLogLevel(LogLevel.silent);

/** For how long a lost connection is tried to be had again, in milliseconds. */
const patience = 120_000;

/**
 * Connects to LiveKit, and again whenever the connection is lost for good: with a fresh token for the same participant, for as
 * long as Usher gives one. `failed` is told which device could not be used.
 */
export function useLiveRoom(
  connection: Connection,
  choices: Choices,
  ends: Ends,
  failed: (error: unknown) => void,
): LiveRoom {
  const usher = useUsher();
  const [room] = useState(
    () =>
      new LiveRoom({
        adaptiveStream: true,
        dynacast: true,
        publishDefaults: { simulcast: true, videoEncoding: VideoPresets.h720.encoding },
        videoCaptureDefaults: {
          resolution: VideoPresets.h720.resolution,
          ...(choices.cameraId && { deviceId: choices.cameraId }),
        },
        audioCaptureDefaults: { ...(choices.microphoneId && { deviceId: choices.microphoneId }) },
      }),
  );
  const latest = useRef({ ends, failed, choices });
  latest.current = { ends, failed, choices };

  useEffect(() => {
    let gone = false;
    const self = usher.as(connection.sessionToken);

    const connect = async (to: Connection) => {
      await room.connect(to.serverUrl, to.token);
      if (gone) await room.disconnect();
    };
    const publish = async () => {
      const { camera, microphone } = latest.current.choices;
      const me = room.localParticipant;
      // One after the other, and one that fails does not keep the other away.
      if (microphone && mayPublish(room, "microphone")) await me.setMicrophoneEnabled(true).catch(latest.current.failed);
      if (camera && mayPublish(room, "camera")) await me.setCameraEnabled(true).catch(latest.current.failed);
    };
    const renew = async () => {
      const until = Date.now() + patience;
      for (let pause = 500; !gone; pause = Math.min(pause * 2, 8000)) {
        try {
          const { connection: fresh } = await self.rooms.renewConnection({});
          if (!fresh || gone) return;
          await connect(fresh);
          return;
        } catch (thrown) {
          if (gone) return;
          const { reason, temporary } = UsherError.from(thrown);
          if (reason === "PARTICIPANT_BLOCKED") return latest.current.ends.leave("removed");
          if (reason === "LOBBY_REQUIRED") return latest.current.ends.ask();
          if (reason === "ROOM_NOT_FOUND") return latest.current.ends.leave("ended");
          if ((reason !== undefined && !temporary) || Date.now() > until) return latest.current.ends.leave("failed");
          await new Promise((resolve) => setTimeout(resolve, pause));
        }
      }
    };
    const disconnected = (why?: DisconnectReason) => {
      if (gone) return;
      const { ends } = latest.current;
      switch (why) {
        case DisconnectReason.CLIENT_INITIATED:
          return ends.leave("left");
        case DisconnectReason.PARTICIPANT_REMOVED:
          return ends.leave("removed");
        case DisconnectReason.ROOM_DELETED:
        case DisconnectReason.ROOM_CLOSED:
          return ends.leave("ended");
        case DisconnectReason.DUPLICATE_IDENTITY:
          return ends.leave("elsewhere");
        default:
          void renew();
      }
    };
    room.on(RoomEvent.Disconnected, disconnected);
    const goAway = () => void room.disconnect();
    addEventListener("pagehide", goAway);
    connect(connection).then(publish, () => {
      if (!gone && room.state !== ConnectionState.Connected) void renew().then(publish);
    });
    return () => {
      gone = true;
      removeEventListener("pagehide", goAway);
      room.off(RoomEvent.Disconnected, disconnected);
      void room.disconnect();
    };
  }, [room, usher, connection]);
  return room;
}

const sources = { camera: 1, microphone: 2, screen: 3 } as const;
export type Source = keyof typeof sources;

/** What the room, or a host, allows the local participant to publish. */
export function mayPublish(room: LiveRoom, source: Source): boolean {
  const permissions = room.localParticipant.permissions;
  if (!permissions?.canPublish) return false;
  // To LiveKit, no source at all means all of them.
  return permissions.canPublishSources.length === 0 || permissions.canPublishSources.includes(sources[source]);
}
