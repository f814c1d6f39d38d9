import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { durationMs, timestampDate } from "@bufbuild/protobuf/wkt";
import { type Recording, RecordingFailureReason, RecordingMode, RecordingStatus } from "@usher-meet/client";
import type { Texts } from "./texts/en.ts";

/** Whether a recording still holds its room: no other one can begin. */
export function isRunning(recording: Recording): boolean {
  return [RecordingStatus.INITIATED, RecordingStatus.ACTIVE, RecordingStatus.FAILED_TO_STOP].includes(recording.status);
}

/** Whether nothing changes about it any more by itself. */
export function isFinal(recording: Recording): boolean {
  return [
    RecordingStatus.SAVED,
    RecordingStatus.NOTIFICATION_SUCCEEDED,
    RecordingStatus.ABORTED,
    RecordingStatus.FAILED_TO_START,
    RecordingStatus.FAILED,
  ].includes(recording.status);
}

/** Where a recording stands, in words, and whether that is good news. */
export function statusOf(t: Texts, recording: Recording): { words: string; mood: "good" | "bad" | "" } {
  const words = t.recordings.status;
  if (recording.expired) return { words: words.expired, mood: "" };
  switch (recording.status) {
    case RecordingStatus.ACTIVE:
      return { words: words.active, mood: "good" };
    case RecordingStatus.STOPPED:
      return { words: words.stopped, mood: "" };
    case RecordingStatus.SAVED:
    case RecordingStatus.NOTIFICATION_SUCCEEDED:
      return { words: words.saved, mood: "good" };
    case RecordingStatus.ABORTED:
      return { words: words.aborted, mood: "bad" };
    case RecordingStatus.FAILED_TO_START:
      return { words: words.failedToStart, mood: "bad" };
    case RecordingStatus.FAILED_TO_STOP:
      return { words: words.failedToStop, mood: "" };
    case RecordingStatus.FAILED:
      return { words: words.failed, mood: "bad" };
    default:
      return { words: words.initiated, mood: "" };
  }
}

/** Why a recording has no file. */
export function failureOf(t: Texts, recording: Recording): string | undefined {
  const words = t.recordings.failure;
  switch (recording.failure?.reason) {
    case RecordingFailureReason.REFUSED:
      return words.refused;
    case RecordingFailureReason.NOT_STARTED:
      return words.notStarted;
    case RecordingFailureReason.ABORTED:
      return words.aborted;
    case RecordingFailureReason.RECORDER_FAILED:
      return words.recorderFailed;
    case RecordingFailureReason.RECORDER_LOST:
      return words.recorderLost;
    case RecordingFailureReason.FILE_MISSING:
      return words.fileMissing;
    case RecordingFailureReason.OPERATOR:
      return words.operator;
    default:
      return undefined;
  }
}

export function modeName(t: Texts, mode: RecordingMode): string {
  return mode === RecordingMode.TRANSCRIPT ? t.recordings.modes.transcript : t.recordings.modes.video;
}

/** Date and time as people of a region write them. */
export function moment(locale: string, time: Timestamp | undefined): string {
  return time ? timestampDate(time).toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" }) : "";
}

export function day(locale: string, time: Timestamp | undefined): string {
  return time ? timestampDate(time).toLocaleDateString(locale, { dateStyle: "long" }) : "";
}

export function clock(locale: string, time: Timestamp | undefined): string {
  return time ? timestampDate(time).toLocaleTimeString(locale, { timeStyle: "short" }) : "";
}

/** A length as h:mm:ss. */
export function length(recording: Recording): string {
  if (!recording.duration) return "";
  const seconds = Math.round(durationMs(recording.duration) / 1000);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return parts.map((part, at) => (at === 0 ? String(part) : String(part).padStart(2, "0"))).join(":");
}

export function size(locale: string, bytes: bigint): string {
  if (bytes <= 0n) return "";
  const megabytes = Number(bytes) / 1e6;
  const style = { style: "unit", maximumFractionDigits: 1 } as const;
  return megabytes < 1
    ? new Intl.NumberFormat(locale, { ...style, unit: "kilobyte" }).format(Number(bytes) / 1e3)
    : new Intl.NumberFormat(locale, { ...style, unit: "megabyte" }).format(megabytes);
}
