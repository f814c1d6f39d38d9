import { useCallback, useEffect, useRef, useState } from "react";

/** Why a device cannot be used: not allowed, not there, in use by another program, or not known to this browser. */
export type DeviceProblem = "blocked" | "missing" | "busy" | "unsupported";

export function problemOf(error: unknown): DeviceProblem {
  switch (error instanceof DOMException ? error.name : "") {
    case "NotAllowedError":
    case "SecurityError":
      return "blocked";
    case "NotFoundError":
    case "OverconstrainedError":
      return "missing";
    default:
      return "busy";
  }
}

export interface Device {
  /** What the device gives while it is on. */
  stream: MediaStream | undefined;
  problem: DeviceProblem | undefined;
}

/** Opens a camera or a microphone while it is wanted, and closes it after that. */
export function useDevice(kind: "audio" | "video", on: boolean, deviceId: string): Device {
  const [device, setDevice] = useState<Device>({ stream: undefined, problem: undefined });
  useEffect(() => {
    if (!on) {
      setDevice((before) => ({ stream: undefined, problem: before.problem }));
      return;
    }
    if (!navigator.mediaDevices?.getUserMedia) {
      setDevice({ stream: undefined, problem: "unsupported" });
      return;
    }
    let gone = false;
    let opened: MediaStream | undefined;
    const constraints: MediaTrackConstraints = {
      ...(deviceId && { deviceId: { exact: deviceId } }),
      ...(kind === "video" && { width: { ideal: 1280 }, height: { ideal: 720 } }),
    };
    navigator.mediaDevices.getUserMedia({ [kind]: constraints }).then(
      (stream) => {
        opened = stream;
        if (gone) stop(stream);
        else setDevice({ stream, problem: undefined });
      },
      (error) => {
        if (!gone) setDevice({ stream: undefined, problem: problemOf(error) });
      },
    );
    return () => {
      gone = true;
      if (opened) stop(opened);
    };
  }, [kind, on, deviceId]);
  return device;
}

function stop(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}

/** The devices of a kind, once the browser tells their names. */
export function useDeviceList(kind: MediaDeviceKind, again: unknown): MediaDeviceInfo[] {
  const [list, setList] = useState<MediaDeviceInfo[]>([]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: names are told after the first permission only
  useEffect(() => {
    const media = navigator.mediaDevices;
    if (!media) return;
    let gone = false;
    const read = () =>
      media.enumerateDevices().then(
        (all) => {
          if (!gone) setList(all.filter((one) => one.kind === kind && one.label !== ""));
        },
        () => {},
      );
    void read();
    media.addEventListener("devicechange", read);
    return () => {
      gone = true;
      media.removeEventListener("devicechange", read);
    };
  }, [kind, again]);
  return list;
}

/** How loud a stream is, 0 to 1, about ten times a second. */
export function useLevel(stream: MediaStream | undefined): number {
  const [level, setLevel] = useState(0);
  useEffect(() => {
    if (!stream) {
      setLevel(0);
      return;
    }
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    analyser.fftSize = 512;
    context.createMediaStreamSource(stream).connect(analyser);
    const samples = new Uint8Array(analyser.fftSize);
    const timer = setInterval(() => {
      analyser.getByteTimeDomainData(samples);
      const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample - 128)), 0);
      setLevel(Math.min(1, peak / 80));
    }, 100);
    return () => {
      clearInterval(timer);
      void context.close();
    };
  }, [stream]);
  return level;
}

/** A video element shows the stream. */
export function useAttached(stream: MediaStream | undefined): (element: HTMLVideoElement | null) => void {
  const element = useRef<HTMLVideoElement | null>(null);
  useEffect(() => {
    if (element.current) element.current.srcObject = stream ?? null;
  }, [stream]);
  return useCallback(
    (next: HTMLVideoElement | null) => {
      element.current = next;
      if (next) next.srcObject = stream ?? null;
    },
    [stream],
  );
}
