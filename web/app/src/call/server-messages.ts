/** What the server tells those who are in a meeting, by way of LiveKit. */
export interface ServerMessage {
  /** "participantWaiting": somebody waits at the door. Other types may come: they are ignored. */
  type: string;
}

/**
 * Reads a data message. The server's have the topic "usher" and no sender: anybody in the meeting can send data under any
 * topic, but not without being named.
 */
export function serverMessage(payload: Uint8Array, sender: unknown, topic: string | undefined): ServerMessage | undefined {
  if (sender !== undefined || topic !== "usher") return undefined;
  try {
    const message = JSON.parse(new TextDecoder().decode(payload)) as Partial<ServerMessage> | null;
    return typeof message?.type === "string" ? { type: message.type } : undefined;
  } catch {
    return undefined;
  }
}
