import { useRoomContext } from "@livekit/components-react";
import { useQueryClient } from "@tanstack/react-query";
import { RecordingMode, RecordingStatus, RecordingsService, type Room } from "@usher-meet/client";
import { createConnectQueryKey, useMutation, useQuery, useTransport, useUsher } from "@usher-meet/client/react";
import { RoomEvent } from "livekit-client";
import { useEffect, useId, useRef, useState } from "react";
import { isRunning, modeName } from "../recordings.ts";
import { useConfig } from "../session.ts";
import { languages, useLanguage, useTexts } from "../texts/index.tsx";
import { Dialog, ErrorNotice, useToaster } from "../ui/feedback.tsx";

/** Whether LiveKit says that the meeting is recorded: everybody sees that, whoever started it. */
export function useIsRecorded(): boolean {
  const live = useRoomContext();
  const [recorded, setRecorded] = useState(live.isRecording);
  useEffect(() => {
    const read = () => setRecorded(live.isRecording);
    read();
    live.on(RoomEvent.RecordingStatusChanged, read);
    live.on(RoomEvent.Connected, read);
    return () => {
      live.off(RoomEvent.RecordingStatusChanged, read);
      live.off(RoomEvent.Connected, read);
    };
  }, [live]);
  return recorded;
}

/** What hosts do about recording: whether one runs, and to stop it. */
export interface Recorder {
  /** Not there: this instance records nothing, or the caller is no host. */
  available: boolean;
  running: boolean;
  /** It was asked for, and the recorder has not begun. */
  starting: boolean;
  stop: () => void;
  refresh: () => void;
}

/** How often what is on its way is asked for, and what is running, in milliseconds. */
const often = 2000;
const seldom = 10_000;

export function useRecorder(room: Room, host: boolean): Recorder {
  const config = useConfig();
  const usher = useUsher();
  const queries = useQueryClient();
  const transport = useTransport();
  const { fail } = useToaster();
  const recorded = useIsRecorded();
  const available = host && config.recording?.enabled === true;
  const input = { room: room.id, pageSize: 1 };
  const { data } = useQuery(RecordingsService.method.listRecordings, input, {
    enabled: available,
    refetchInterval: ({ state }) => {
      const [last] = state.data?.recordings ?? [];
      if (!last || !isRunning(last)) return false;
      return last.status === RecordingStatus.ACTIVE ? seldom : often;
    },
  });
  const key = createConnectQueryKey({
    schema: RecordingsService.method.listRecordings,
    input,
    transport,
    cardinality: "finite",
  });
  const refresh = () => void queries.invalidateQueries({ queryKey: key });
  const latest = useRef(refresh);
  latest.current = refresh;
  // biome-ignore lint/correctness/useExhaustiveDependencies: what LiveKit says is a hint to ask
  useEffect(() => latest.current(), [recorded]);
  const [last] = data?.recordings ?? [];
  const running = last !== undefined && isRunning(last);
  return {
    available,
    running,
    starting: running && last.status === RecordingStatus.INITIATED,
    stop: () => void usher.recordings.stopRecording({ room: room.id }).then(refresh, fail).finally(refresh),
    refresh,
  };
}

/** Asks what to record, and starts. */
export function RecordDialog({ room, started, close }: { room: Room; started: () => void; close: () => void }) {
  const t = useTexts();
  const id = useId();
  const { language } = useLanguage();
  const config = useConfig();
  const modes = config.recording?.modes ?? [];
  const [mode, setMode] = useState(modes[0] ?? RecordingMode.SCREEN_RECORDING);
  const [spoken, setSpoken] = useState<string>(language);
  // One id for all tries of this dialog: pressing twice records once.
  const [requestId] = useState(() => crypto.randomUUID());
  const start = useMutation(RecordingsService.method.startRecording, {
    onSuccess: () => {
      started();
      close();
    },
  });
  return (
    <Dialog title={t.recordings.startTitle} onClose={close}>
      <p>{t.recordings.startBody}</p>
      {modes.length > 1 && (
        <fieldset className="choices">
          <legend>{t.recordings.mode}</legend>
          {modes.map((one) => (
            <label key={one} className="choice compact">
              <input type="radio" name={`${id}-mode`} checked={mode === one} onChange={() => setMode(one)} />
              <span>{modeName(t, one)}</span>
            </label>
          ))}
        </fieldset>
      )}
      {mode === RecordingMode.TRANSCRIPT && (
        <div className="field">
          <label htmlFor={`${id}-language`}>{t.recordings.language}</label>
          <select id={`${id}-language`} value={spoken} onChange={(event) => setSpoken(event.target.value)}>
            {Object.entries(languages).map(([tag, name]) => (
              <option key={tag} value={tag} lang={tag}>
                {name}
              </option>
            ))}
          </select>
        </div>
      )}
      <ErrorNotice error={start.error} />
      <div className="actions">
        <button type="button" className="button" onClick={close}>
          {t.common.cancel}
        </button>
        <button
          type="button"
          className="button primary"
          disabled={start.isPending}
          onClick={() =>
            start.mutate({
              room: room.id,
              mode,
              requestId,
              ...(mode === RecordingMode.TRANSCRIPT && { options: { language: spoken } }),
            })
          }
        >
          {t.recordings.start}
        </button>
      </div>
    </Dialog>
  );
}
