import type { Room } from "@usher-meet/client";
import { type FormEvent, useId, useState } from "react";
import { useAttached, useDevice, useDeviceList, useLevel } from "../devices.ts";
import { isDirect } from "../rooms.ts";
import { signInAddress, useConfig } from "../session.ts";
import { useTexts } from "../texts/index.tsx";
import { Avatar } from "../ui/avatar.tsx";
import { Icon } from "../ui/icons.tsx";
import { Page } from "../ui/page.tsx";

/** How somebody wants to take part. */
export interface Choices {
  name: string;
  camera: boolean;
  microphone: boolean;
  /** Ids of devices, empty for the standard ones. */
  cameraId: string;
  microphoneId: string;
}

const stored = "usher.choices";

function lastChoices(): Choices {
  const standard = { name: "", camera: true, microphone: true, cameraId: "", microphoneId: "" };
  try {
    return { ...standard, ...(JSON.parse(localStorage.getItem(stored) ?? "{}") as Partial<Choices>) };
  } catch {
    return standard;
  }
}

/** Getting ready: a look into the mirror, a name, and in. */
export function PreJoin({
  room,
  account,
  name: givenName,
  join,
}: {
  room: Room;
  account: string | undefined;
  name: string;
  join: (choices: Choices) => void;
}) {
  const t = useTexts();
  const id = useId();
  const config = useConfig();
  const [choices, setChoices] = useState<Choices>(() => {
    const last = lastChoices();
    return { ...last, name: givenName || last.name };
  });
  const [missing, setMissing] = useState(false);
  const change = (to: Partial<Choices>) => setChoices((before) => ({ ...before, ...to }));
  const direct = isDirect(room);
  const address = account === undefined ? signInAddress(config) : "";

  const submit = (event: FormEvent) => {
    event.preventDefault();
    const name = choices.name.trim();
    setMissing(name === "");
    if (name === "") {
      document.getElementById(`${id}-name`)?.focus();
      return;
    }
    const { name: _, ...devices } = choices;
    // The name of somebody with an account is that of the account: it is not kept for the next one at this machine.
    localStorage.setItem(stored, JSON.stringify(account === undefined ? { ...devices, name } : devices));
    join({ ...choices, name });
  };
  return (
    <Page title={room.name}>
      <form className="prejoin" onSubmit={submit} noValidate>
        <Preview name={choices.name} choices={choices} change={change} />
        <div className="stack">
          <h1 className="clamp">{room.name}</h1>
          {direct && <p className="muted">{room.live?.active ? t.join.live(room.live.participantCount) : t.join.nobody}</p>}
          <div className="field">
            <label htmlFor={`${id}-name`}>{t.join.name}</label>
            <input
              id={`${id}-name`}
              value={choices.name}
              maxLength={100}
              autoComplete="name"
              aria-invalid={missing}
              aria-describedby={`${id}-hint`}
              onChange={(event) => {
                setMissing(false);
                change({ name: event.target.value });
              }}
            />
            <small id={`${id}-hint`} className={missing ? "error" : undefined} role={missing ? "alert" : undefined}>
              {missing ? t.join.nameMissing : t.join.nameHint}
            </small>
          </div>
          <button type="submit" className="button primary large">
            {direct ? t.join.now : t.join.ask}
            <Icon name="arrow" />
          </button>
          {!direct && <p className="muted">{t.join.askHint}</p>}
          {!direct && address && (
            <p className="muted">
              {t.join.signInHint} <a href={address}>{t.header.signIn}</a>
            </p>
          )}
        </div>
      </form>
    </Page>
  );
}

/** The picture and the sound that others will get. */
export function Preview({
  name,
  choices,
  change,
}: {
  name: string;
  choices: Choices;
  change: (to: Partial<Choices>) => void;
}) {
  const t = useTexts();
  const id = useId();
  const camera = useDevice("video", choices.camera, choices.cameraId);
  const microphone = useDevice("audio", choices.microphone, choices.microphoneId);
  const cameras = useDeviceList("videoinput", camera.stream);
  const microphones = useDeviceList("audioinput", microphone.stream);
  const problem = (choices.camera && camera.problem) || (choices.microphone && microphone.problem) || undefined;
  return (
    <section className="preview" aria-label={`${t.join.camera}, ${t.join.microphone}`}>
      <div className="mirror">
        <video ref={useAttached(camera.stream)} autoPlay playsInline muted hidden={!camera.stream} />
        {!camera.stream && <Avatar name={name} large />}
        <Level stream={microphone.stream} />
        <div className="mirror-controls">
          <button
            type="button"
            className={choices.microphone ? "round" : "round off"}
            aria-pressed={choices.microphone}
            aria-label={t.join.microphone}
            title={choices.microphone ? t.join.turnOffMicrophone : t.join.turnOnMicrophone}
            onClick={() => change({ microphone: !choices.microphone })}
          >
            <Icon name={choices.microphone ? "mic" : "micOff"} />
          </button>
          <button
            type="button"
            className={choices.camera ? "round" : "round off"}
            aria-pressed={choices.camera}
            aria-label={t.join.camera}
            title={choices.camera ? t.join.turnOffCamera : t.join.turnOnCamera}
            onClick={() => change({ camera: !choices.camera })}
          >
            <Icon name={choices.camera ? "camera" : "cameraOff"} />
          </button>
        </div>
      </div>
      <p className="hidden" role="status">
        {choices.microphone ? t.join.microphoneOn : t.join.microphoneOff}.{" "}
        {choices.camera ? t.join.cameraOn : t.join.cameraOff}.
      </p>
      {problem && (
        <p className="notice" role="alert">
          {t.join[problem]}
        </p>
      )}
      <div className="row wrap devices">
        <DeviceChoice
          id={`${id}-mic`}
          label={t.join.microphone}
          list={microphones}
          value={choices.microphoneId}
          choose={(microphoneId) => change({ microphoneId })}
        />
        <DeviceChoice
          id={`${id}-cam`}
          label={t.join.camera}
          list={cameras}
          value={choices.cameraId}
          choose={(cameraId) => change({ cameraId })}
        />
      </div>
    </section>
  );
}

function DeviceChoice({
  id,
  label,
  list,
  value,
  choose,
}: {
  id: string;
  label: string;
  list: MediaDeviceInfo[];
  value: string;
  choose: (id: string) => void;
}) {
  const t = useTexts();
  if (list.length < 2) return null;
  return (
    <div className="field grow">
      <label htmlFor={id}>{label}</label>
      <select
        id={id}
        value={list.some((one) => one.deviceId === value) ? value : ""}
        onChange={(event) => choose(event.target.value)}
      >
        <option value="">{t.join.defaultDevice}</option>
        {list
          .filter((one) => one.deviceId !== "default" && one.deviceId !== "")
          .map((one) => (
            <option key={one.deviceId} value={one.deviceId}>
              {one.label}
            </option>
          ))}
      </select>
    </div>
  );
}

/** A bar that moves with the voice. It is a picture only: it would never stop talking to a screen reader. */
function Level({ stream }: { stream: MediaStream | undefined }) {
  const level = useLevel(stream);
  if (!stream) return null;
  return (
    <span className="level" aria-hidden="true">
      <span style={{ transform: `scaleX(${level.toFixed(2)})` }} />
    </span>
  );
}
