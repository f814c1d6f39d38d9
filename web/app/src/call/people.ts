import { useParticipants, useRoomInfo } from "@livekit/components-react";
import { type Participant as LiveParticipant, ParticipantEvent, ParticipantKind, RoomEvent } from "livekit-client";
import { useMemo } from "react";
import { isHeld } from "./held.ts";

/** What of a participant Usher says in LiveKit's attributes. */
export interface Details {
  role: "owner" | "administrator" | "member" | "";
  authenticated: boolean;
  color: string | undefined;
  /** Since when the hand is up. */
  hand: Date | undefined;
  phone: boolean;
}

export function detailsOf(p: LiveParticipant): Details {
  const { room_role, is_authenticated, color, hand_raise_time } = p.attributes;
  const hand = hand_raise_time ? new Date(hand_raise_time) : undefined;
  return {
    role: room_role === "owner" || room_role === "administrator" || room_role === "member" ? room_role : "",
    authenticated: is_authenticated === "true",
    color,
    hand: hand && !Number.isNaN(hand.getTime()) ? hand : undefined,
    phone: p.kind === ParticipantKind.SIP,
  };
}

export function isHostHere(details: Details): boolean {
  return details.role === "owner" || details.role === "administrator";
}

/** How to call somebody. */
export function nameOf(p: LiveParticipant): string {
  return p.name || p.identity;
}

const changes = [
  RoomEvent.ParticipantConnected,
  RoomEvent.ParticipantDisconnected,
  RoomEvent.ParticipantAttributesChanged,
  RoomEvent.ParticipantNameChanged,
  RoomEvent.ParticipantPermissionsChanged,
  RoomEvent.TrackMuted,
  RoomEvent.TrackUnmuted,
  RoomEvent.TrackPublished,
  RoomEvent.TrackUnpublished,
  RoomEvent.LocalTrackPublished,
  RoomEvent.LocalTrackUnpublished,
  RoomEvent.ConnectionStateChanged,
  RoomEvent.RoomMetadataChanged,
];

/** Who takes part: everybody who is in but recorders, and callers who are held. The local one comes first. */
export function usePeople(): LiveParticipant[] {
  const all = useParticipants({ updateOnlyOn: changes });
  const { metadata } = useRoomInfo();
  return useMemo(() => all.filter((p) => takesPart(p, metadata)), [all, metadata]);
}

export function takesPart(p: LiveParticipant, metadata: string | undefined): boolean {
  // Without an identity it is oneself, before LiveKit has answered.
  if (p.kind === ParticipantKind.EGRESS || !p.identity) return false;
  return !isHeld({ kind: p.kind, attributes: p.attributes }, metadata);
}

/** Events after which what is shown of one participant may differ. */
export const participantChanges = [
  ParticipantEvent.AttributesChanged,
  ParticipantEvent.ParticipantNameChanged,
  ParticipantEvent.TrackMuted,
  ParticipantEvent.TrackUnmuted,
];
