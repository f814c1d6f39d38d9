import type { TrackReferenceOrPlaceholder } from "@livekit/components-core";
import { isTrackReference, useIsSpeaking, useRoomInfo, useTracks, VideoTrack } from "@livekit/components-react";
import { JoinMode, type Room } from "@usher-meet/client";
import { RoomEvent, Track } from "livekit-client";
import { useEffect, useRef, useState } from "react";
import { useDialIn } from "../pages/phone-panel.tsx";
import { invitationText } from "../rooms.ts";
import { useTexts } from "../texts/index.tsx";
import { Avatar } from "../ui/avatar.tsx";
import { CopyButton } from "../ui/feedback.tsx";
import { Icon } from "../ui/icons.tsx";
import { useMedia } from "../ui/page.tsx";
import { bestColumns } from "./grid.ts";
import { detailsOf, nameOf, takesPart, usePeople } from "./people.ts";

/** The pictures: a shared screen or a pinned person large, else everybody alike. */
export function Stage({ room }: { room: Room }) {
  const t = useTexts();
  const people = usePeople();
  const { dialIn } = useDialIn(room);
  const { metadata } = useRoomInfo();
  const all = useTracks(
    [
      { source: Track.Source.Camera, withPlaceholder: true },
      { source: Track.Source.ScreenShare, withPlaceholder: false },
    ],
    { onlySubscribed: false, updateOnlyOn: [RoomEvent.ActiveSpeakersChanged, RoomEvent.ParticipantAttributesChanged] },
  ).filter((ref) => takesPart(ref.participant, metadata));
  const [pinned, setPinned] = useState<string | undefined>();
  const screens = all.filter((ref) => ref.source === Track.Source.ScreenShare);
  const large = all.find((ref) => keyOf(ref) === pinned) ?? screens.find((ref) => !ref.participant.isLocal) ?? screens[0];
  const small = useMedia("(max-width: 700px)");
  const limit = large ? (small ? 4 : 8) : small ? 6 : 16;
  const others = ordered(all.filter((ref) => ref !== large));
  const shown = others.slice(0, others.length > limit ? limit - 1 : limit);
  const hidden = others.length - shown.length;
  const { box, columns } = useColumns(shown.length + (hidden > 0 ? 1 : 0));
  const tile = (ref: TrackReferenceOrPlaceholder) => (
    <Tile
      key={keyOf(ref)}
      trackRef={ref}
      large={ref === large}
      pin={() => setPinned((now) => (now === keyOf(ref) ? undefined : keyOf(ref)))}
      pinned={pinned === keyOf(ref)}
    />
  );
  return (
    <main className={large ? "stage focused" : "stage"} id="main" aria-label={t.call.stage}>
      {large && <div className="large">{tile(large)}</div>}
      <div
        ref={box}
        className="tiles"
        style={large ? undefined : { gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))` }}
      >
        {shown.map(tile)}
        {hidden > 0 && <div className="tile rest">{t.call.moreTiles(hidden)}</div>}
      </div>
      {people.length === 1 && !large && (
        <div className="alone">
          <p>
            <b>{t.call.alone}</b>
          </p>
          {room.joinMode === JoinMode.DIRECT && (
            <>
              <p>{t.call.aloneHint}</p>
              <CopyButton className="button" text={invitationText(t, room, dialIn)} label={t.invitation.copy} />
            </>
          )}
        </div>
      )}
    </main>
  );
}

function keyOf(ref: TrackReferenceOrPlaceholder): string {
  return `${ref.participant.identity} ${ref.source}`;
}

/** Oneself first, then who spoke last: who talks is seen even when not everybody fits. */
function ordered(refs: TrackReferenceOrPlaceholder[]): TrackReferenceOrPlaceholder[] {
  const spoke = (ref: TrackReferenceOrPlaceholder) => ref.participant.lastSpokeAt?.getTime() ?? 0;
  const came = (ref: TrackReferenceOrPlaceholder) => ref.participant.joinedAt?.getTime() ?? 0;
  if (refs.length <= 6)
    return refs.toSorted((a, b) => Number(b.participant.isLocal) - Number(a.participant.isLocal) || came(a) - came(b));
  return refs.toSorted(
    (a, b) => Number(b.participant.isLocal) - Number(a.participant.isLocal) || spoke(b) - spoke(a) || came(a) - came(b),
  );
}

function useColumns(n: number) {
  const box = useRef<HTMLDivElement>(null);
  const [size, setSize] = useState({ width: 1280, height: 720 });
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new ResizeObserver(([entry]) => {
      if (entry) setSize({ width: entry.contentRect.width, height: entry.contentRect.height });
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return { box, columns: bestColumns(Math.max(1, n), size.width, size.height) };
}

function Tile({
  trackRef,
  large,
  pin,
  pinned,
}: {
  trackRef: TrackReferenceOrPlaceholder;
  large: boolean;
  pin: () => void;
  pinned: boolean;
}) {
  const t = useTexts();
  const p = trackRef.participant;
  const speaking = useIsSpeaking(p);
  const details = detailsOf(p);
  const screen = trackRef.source === Track.Source.ScreenShare;
  const name = screen ? t.call.screenOf(nameOf(p)) : nameOf(p);
  const picture = isTrackReference(trackRef) && !trackRef.publication.isMuted;
  return (
    <section
      className={`tile${speaking && !screen ? " speaking" : ""}${large ? " is-large" : ""}${screen ? " screen" : ""}`}
      aria-label={name}
      data-identity={p.identity}
    >
      {picture ? (
        <VideoTrack trackRef={trackRef} className={p.isLocal && !screen ? "mirrored" : undefined} aria-hidden="true" />
      ) : (
        <Avatar name={nameOf(p)} color={details.color} large />
      )}
      {details.hand && !screen && (
        <span className="hand" title={t.call.handUp}>
          <Icon name="hand" />
          <span className="hidden">{t.call.handUp}</span>
        </span>
      )}
      <p className="name">
        {details.phone && <Icon name="phone" />}
        {!p.isMicrophoneEnabled && !screen && (
          <>
            <Icon name="micOff" />
            <span className="hidden">{t.call.muted}</span>
          </>
        )}
        <span className="clamp">{name}</span>
        {p.isLocal && !screen && <span className="muted">({t.common.you})</span>}
      </p>
      <button
        type="button"
        className="icon-button pin"
        aria-pressed={pinned}
        aria-label={pinned ? t.call.unpin : t.call.pin(name)}
        title={pinned ? t.call.unpin : t.call.pin(name)}
        onClick={pin}
      >
        <Icon name="pin" />
      </button>
    </section>
  );
}
