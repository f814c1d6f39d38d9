import { AudioTrack, useRoomContext, useRoomInfo, useTracks } from "@livekit/components-react";
import { RoomEvent, Track } from "livekit-client";
import { useEffect, useState } from "react";
import { useTexts } from "../texts/index.tsx";
import { Icon } from "../ui/icons.tsx";
import { takesPart } from "./people.ts";

/** Plays what others say: everybody's microphone and screen sound, but nothing of callers who are held. */
export function Sound() {
  const t = useTexts();
  const live = useRoomContext();
  const { metadata } = useRoomInfo();
  const tracks = useTracks([Track.Source.Microphone, Track.Source.ScreenShareAudio, Track.Source.Unknown], {
    onlySubscribed: true,
    updateOnlyOn: [RoomEvent.ParticipantAttributesChanged, RoomEvent.RoomMetadataChanged],
  }).filter(
    (ref) => !ref.participant.isLocal && ref.publication.kind === Track.Kind.Audio && takesPart(ref.participant, metadata),
  );
  const [allowed, setAllowed] = useState(true);
  useEffect(() => {
    const read = () => setAllowed(live.canPlaybackAudio);
    read();
    live.on(RoomEvent.AudioPlaybackStatusChanged, read);
    return () => {
      live.off(RoomEvent.AudioPlaybackStatusChanged, read);
    };
  }, [live]);
  return (
    <>
      <div hidden>
        {tracks.map((ref) => (
          <AudioTrack key={ref.publication.trackSid} trackRef={ref} />
        ))}
      </div>
      {!allowed && (
        <button type="button" className="button primary start-audio" onClick={() => void live.startAudio()}>
          <Icon name="speaker" />
          {t.call.startAudio}
        </button>
      )}
    </>
  );
}
