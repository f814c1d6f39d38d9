import { useLocalParticipant, useMediaDeviceSelect, useRoomContext } from "@livekit/components-react";
import { type Room, RoomsService, type UsherClient } from "@usher-meet/client";
import { useMutation } from "@usher-meet/client/react";
import { RoomEvent } from "livekit-client";
import { type ReactNode, useEffect, useState } from "react";
import { useTexts } from "../texts/index.tsx";
import { Dialog, ErrorNotice, useToaster } from "../ui/feedback.tsx";
import { Icon, type IconName } from "../ui/icons.tsx";
import { Menu } from "../ui/menu.tsx";
import { useMedia } from "../ui/page.tsx";
import { mayPublish, type Source } from "./connection.ts";
import { detailsOf } from "./people.ts";
import { RecordDialog, type Recorder } from "./recording.tsx";

export type Panel = "people" | "invite";

/** The bar below the pictures. What the room does not allow is not there. */
export function Controls({
  room,
  host,
  self,
  panel,
  toggle,
  waiting,
  canInvite,
  recorder,
  leave,
}: {
  room: Room;
  host: boolean;
  self: UsherClient;
  panel: Panel | undefined;
  toggle: (panel: Panel) => void;
  waiting: number;
  canInvite: boolean;
  recorder: Recorder;
  leave: () => void;
}) {
  const t = useTexts();
  const live = useRoomContext();
  const { fail, tell } = useToaster();
  const { localParticipant, isMicrophoneEnabled, isCameraEnabled, isScreenShareEnabled } = useLocalParticipant();
  const allowed = useAllowed();
  const [ending, setEnding] = useState(false);
  const [recordAsked, setRecordAsked] = useState(false);
  // On a phone there is no room for every button: inviting is in the menu.
  const small = useMedia("(max-width: 700px)");
  const raised = detailsOf(localParticipant).hand !== undefined;
  const deviceFailed = (error: unknown) => {
    // Somebody who closes the browser's window of screens has changed their mind: that is no failure.
    if (!(error instanceof DOMException && error.name === "NotAllowedError" && !allowed.camera)) tell(t.call.deviceFailed);
  };
  const shareFailed = (error: unknown) => {
    if (!(error instanceof DOMException && error.name === "NotAllowedError")) tell(t.call.deviceFailed);
  };
  return (
    <section className="controls" aria-label={t.call.controls}>
      <div className="group">
        {allowed.microphone && (
          <div className="split">
            <Control
              icon={isMicrophoneEnabled ? "mic" : "micOff"}
              label={isMicrophoneEnabled ? t.call.mute : t.call.unmute}
              off={!isMicrophoneEnabled}
              onClick={() => live.localParticipant.setMicrophoneEnabled(!isMicrophoneEnabled).catch(deviceFailed)}
            />
            <DeviceMenu kind="audioinput" label={t.call.chooseMicrophone} />
          </div>
        )}
        {allowed.camera && (
          <div className="split">
            <Control
              icon={isCameraEnabled ? "camera" : "cameraOff"}
              label={isCameraEnabled ? t.call.cameraOff : t.call.cameraOn}
              off={!isCameraEnabled}
              onClick={() => live.localParticipant.setCameraEnabled(!isCameraEnabled).catch(deviceFailed)}
            />
            <DeviceMenu kind="videoinput" label={t.call.chooseCamera} />
          </div>
        )}
        {allowed.screen && "getDisplayMedia" in (navigator.mediaDevices ?? {}) && (
          <Control
            icon="screen"
            label={isScreenShareEnabled ? t.call.stopShare : t.call.share}
            on={isScreenShareEnabled}
            onClick={() =>
              live.localParticipant.setScreenShareEnabled(!isScreenShareEnabled, { audio: true }).catch(shareFailed)
            }
          />
        )}
        <Control
          icon="hand"
          label={raised ? t.call.lowerHand : t.call.raiseHand}
          on={raised}
          onClick={() => self.participants.raiseHand({ raised: !raised }).catch(fail)}
        />
      </div>
      <div className="group">
        <Control
          icon="people"
          label={waiting > 0 ? `${t.call.people}, ${t.people.waiting(waiting)}` : t.call.people}
          on={panel === "people"}
          onClick={() => toggle("people")}
        >
          {waiting > 0 && <span className="count" data-count={waiting} />}
        </Control>
        {canInvite && !small && (
          <Control icon="link" label={t.call.info} on={panel === "invite"} onClick={() => toggle("invite")} />
        )}
        <Menu
          label={t.common.actionsFor(room.name)}
          className="round"
          items={[
            ...(canInvite && small ? [{ label: t.call.info, run: () => toggle("invite") }] : []),
            ...(host
              ? [{ label: t.call.settings, run: () => void open(`/-/rooms/${room.slug}`, "_blank", "noopener") }]
              : []),
            ...(recorder.available
              ? [
                  recorder.running
                    ? { label: t.recordings.stop, run: recorder.stop }
                    : { label: t.recordings.start, run: () => setRecordAsked(true) },
                ]
              : []),
            { label: t.call.leaveOnly, run: leave },
            ...(host ? [{ label: t.call.endForAll, run: () => setEnding(true), danger: true }] : []),
          ]}
        >
          <Icon name="more" />
        </Menu>
      </div>
      <div className="group">
        <button type="button" className="round leave" aria-label={t.call.leave} title={t.call.leave} onClick={leave}>
          <Icon name="leave" />
        </button>
      </div>
      {recordAsked && <RecordDialog room={room} started={recorder.refresh} close={() => setRecordAsked(false)} />}
      {recorder.starting && (
        <p className="hidden" role="status">
          {t.recordings.starting}
        </p>
      )}
      {ending && <EndDialog room={room} close={() => setEnding(false)} />}
    </section>
  );
}

function Control({
  icon,
  label,
  on = false,
  off = false,
  onClick,
  children,
}: {
  icon: IconName;
  label: string;
  on?: boolean;
  off?: boolean;
  onClick: () => void;
  children?: ReactNode;
}) {
  return (
    <button
      type="button"
      className={`round${on ? " on" : ""}${off ? " off" : ""}`}
      aria-label={label}
      title={label}
      onClick={onClick}
    >
      <Icon name={icon} />
      {children}
    </button>
  );
}

/** What may be published: it changes when a host, or the room, says so. */
function useAllowed(): Record<Source, boolean> {
  const live = useRoomContext();
  const read = () => ({
    camera: mayPublish(live, "camera"),
    microphone: mayPublish(live, "microphone"),
    screen: mayPublish(live, "screen"),
  });
  const [allowed, setAllowed] = useState(read);
  useEffect(() => {
    const change = () =>
      setAllowed({
        camera: mayPublish(live, "camera"),
        microphone: mayPublish(live, "microphone"),
        screen: mayPublish(live, "screen"),
      });
    change();
    live.on(RoomEvent.ParticipantPermissionsChanged, change);
    live.on(RoomEvent.Connected, change);
    return () => {
      live.off(RoomEvent.ParticipantPermissionsChanged, change);
      live.off(RoomEvent.Connected, change);
    };
  }, [live]);
  return allowed;
}

function DeviceMenu({ kind, label }: { kind: MediaDeviceKind; label: string }) {
  const t = useTexts();
  const { tell } = useToaster();
  const { devices, activeDeviceId, setActiveMediaDevice } = useMediaDeviceSelect({ kind });
  if (devices.length < 2) return null;
  return (
    <Menu
      label={label}
      className="round narrow"
      items={devices.map((one) => ({
        label: one.label || t.join.defaultDevice,
        checked: one.deviceId === activeDeviceId,
        run: () => void setActiveMediaDevice(one.deviceId).catch(() => tell(t.call.deviceFailed)),
      }))}
    >
      <Icon name="chevron" />
    </Menu>
  );
}

function EndDialog({ room, close }: { room: Room; close: () => void }) {
  const t = useTexts();
  const end = useMutation(RoomsService.method.endMeeting);
  return (
    <Dialog title={t.call.endTitle} onClose={close}>
      <p>{t.call.endBody}</p>
      <ErrorNotice error={end.error} />
      <div className="actions">
        <button type="button" className="button" onClick={close}>
          {t.common.cancel}
        </button>
        <button
          type="button"
          className="button danger"
          disabled={end.isPending}
          onClick={() => end.mutate({ room: room.id })}
        >
          {t.call.endForAll}
        </button>
      </div>
    </Dialog>
  );
}
