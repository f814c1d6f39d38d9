import { useQueryClient } from "@tanstack/react-query";
import { type DialIn, PhonePolicy, type Room, TelephonyService } from "@usher-meet/client";
import { createConnectQueryKey, useMutation, useQuery, useTransport } from "@usher-meet/client/react";
import { useState } from "react";
import { isDirect, isHost } from "../rooms.ts";
import { useConfig } from "../session.ts";
import { useTexts } from "../texts/index.tsx";
import { Dialog, ErrorNotice, Loading, useToaster } from "../ui/feedback.tsx";

/** How to reach a room by phone, for who may enter it: a room without a PIN gets one. Undefined while it cannot be reached. */
export function useDialIn(room: Room): { dialIn: DialIn | undefined; error: unknown; pending: boolean } {
  const config = useConfig();
  const reachable =
    config.telephony?.enabled === true && isDirect(room) && room.configuration?.phonePolicy !== PhonePolicy.REFUSE;
  const { data, error, isLoading } = useQuery(TelephonyService.method.getDialIn, { room: room.id }, { enabled: reachable });
  return { dialIn: reachable ? data?.dialIn : undefined, error: reachable ? error : null, pending: isLoading };
}

/** The numbers and the PIN, to read out, and for hosts another PIN. */
export function DialInDetails({ room }: { room: Room }) {
  const t = useTexts();
  const { dialIn, error, pending } = useDialIn(room);
  const [asked, setAsked] = useState(false);
  if (room.configuration?.phonePolicy === PhonePolicy.REFUSE) return <p className="muted">{t.phone.refused}</p>;
  if (pending) return <Loading />;
  return (
    <div className="stack">
      <ErrorNotice error={error} />
      {dialIn && (
        <>
          <div>
            <p className="muted">{t.phone.numbers}</p>
            <ul className="numbers">
              {dialIn.numbers.map((number) => (
                <li key={number.e164}>
                  <a href={`tel:${number.e164}`}>{number.display}</a> <span className="muted">{number.country}</span>
                </li>
              ))}
            </ul>
          </div>
          <div>
            <p className="muted">{t.phone.pin}</p>
            <p className="pin">{dialIn.pinDisplay}</p>
            <small>{t.phone.hint}</small>
          </div>
          {isHost(room.myRole) && (
            <div>
              <button type="button" className="button" onClick={() => setAsked(true)}>
                {t.phone.rotate}
              </button>
            </div>
          )}
        </>
      )}
      {asked && <RotateDialog room={room} close={() => setAsked(false)} />}
    </div>
  );
}

function RotateDialog({ room, close }: { room: Room; close: () => void }) {
  const t = useTexts();
  const { tell } = useToaster();
  const queries = useQueryClient();
  const transport = useTransport();
  const [resend, setResend] = useState(false);
  const rotate = useMutation(TelephonyService.method.rotatePin, {
    onSuccess: ({ outstandingInvitationCount }) => {
      const key = createConnectQueryKey({
        schema: TelephonyService.method.getDialIn,
        input: { room: room.id },
        transport,
        cardinality: "finite",
      });
      void queries.invalidateQueries({ queryKey: key });
      const left = outstandingInvitationCount > 0 ? ` ${t.phone.outstanding(outstandingInvitationCount)}` : "";
      tell(t.phone.rotated + left);
      close();
    },
  });
  return (
    <Dialog title={t.phone.rotateTitle} onClose={close}>
      <p>{t.phone.rotateBody}</p>
      <label className="choice compact">
        <input type="checkbox" checked={resend} onChange={(event) => setResend(event.target.checked)} />
        <span>{t.phone.resend}</span>
      </label>
      <ErrorNotice error={rotate.error} />
      <div className="actions">
        <button type="button" className="button" onClick={close}>
          {t.common.cancel}
        </button>
        <button
          type="button"
          className="button primary"
          disabled={rotate.isPending}
          onClick={() => rotate.mutate({ room: room.id, resendInvitations: resend })}
        >
          {t.phone.rotate}
        </button>
      </div>
    </Dialog>
  );
}
