import { useQueryClient } from "@tanstack/react-query";
import { type Recording, type RecordingAccess, RecordingsService, Role, UsherError } from "@usher-meet/client";
import {
  createConnectQueryKey,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useTransport,
  useUsher,
} from "@usher-meet/client/react";
import { type FormEvent, useId, useState } from "react";
import { Link, useLocation } from "wouter";
import { day, failureOf, isFinal, length, modeName, moment, size, statusOf } from "../recordings.ts";
import { isHost, roleName } from "../rooms.ts";
import { signInAddress, useConfig, useMe } from "../session.ts";
import { useLanguage, useTexts } from "../texts/index.tsx";
import { Avatar } from "../ui/avatar.tsx";
import { CopyButton, Dialog, ErrorNotice, Loading, useToaster } from "../ui/feedback.tsx";
import { Icon } from "../ui/icons.tsx";
import { MessagePage, Page } from "../ui/page.tsx";

/** One recording: what became of it, its file, and who may have it. */
export function RecordingPage({ id }: { id: string }) {
  const t = useTexts();
  const me = useMe();
  const config = useConfig();
  const { data, error, refetch } = useQuery(
    RecordingsService.method.getRecording,
    { recordingId: id },
    {
      enabled: Boolean(me),
      refetchInterval: ({ state }) => (state.data?.recording && !isFinal(state.data.recording) ? 3000 : false),
    },
  );
  if (me === null) {
    return (
      <MessagePage title={t.signInNeeded.title} body={t.signInNeeded.body}>
        <a className="button primary" href={signInAddress(config)}>
          {t.header.signIn}
        </a>
      </MessagePage>
    );
  }
  if (error && !data) {
    const { reason } = UsherError.from(error);
    const none = reason === "RECORDING_NOT_FOUND" || reason === "INVALID_REQUEST";
    return (
      <MessagePage title={none ? t.notFound.title : t.recordings.one} body={none ? t.errors.RECORDING_NOT_FOUND : ""}>
        {!none && <ErrorNotice error={error} retry={() => refetch()} />}
        <Link href="/" className="button">
          {t.common.home}
        </Link>
      </MessagePage>
    );
  }
  if (!data?.recording) return <Loading />;
  return <Details recording={data.recording} />;
}

function Details({ recording }: { recording: Recording }) {
  const { texts: t, locale } = useLanguage();
  const status = statusOf(t, recording);
  const failure = failureOf(t, recording);
  const when = moment(locale, recording.startTime ?? recording.createTime);
  const manages = isHost(recording.myRole);
  const facts: [string, string][] = [
    [t.recordings.room, recording.roomName],
    [t.recordings.when, when],
    [t.recordings.content, modeName(t, recording.mode)],
    [t.recordings.length, length(recording)],
    [t.recordings.size, size(locale, recording.sizeBytes)],
  ];
  return (
    <Page title={`${t.recordings.one}: ${recording.roomName}`} narrow>
      <header className="row wrap">
        <h1 className="grow clamp">{recording.roomName}</h1>
        <span className={`badge ${status.mood}`} role="status">
          {status.words}
        </span>
      </header>
      {failure && <p className="notice">{failure}</p>}
      <section className="card stack" aria-label={t.recordings.one}>
        <dl>
          {facts.map(([name, value]) =>
            value ? (
              <div className="fact" key={name}>
                <dt>{name}</dt>
                <dd>{value}</dd>
              </div>
            ) : null,
          )}
        </dl>
        <div className="row wrap">
          {recording.downloadable && <Download recording={recording} />}
          <CopyButton text={`${location.origin}/recording/${recording.id}`} label={t.recordings.link} />
        </div>
        {manages && recording.expireTime && <Keep recording={recording} />}
      </section>
      {manages && <Sharing recording={recording} />}
      {manages && isFinal(recording) && <Deletion recording={recording} />}
    </Page>
  );
}

function Download({ recording }: { recording: Recording }) {
  const t = useTexts();
  const usher = useUsher();
  const { fail } = useToaster();
  const [busy, setBusy] = useState(false);
  const download = () => {
    setBusy(true);
    // The address is good for minutes: it is asked for when it is wanted.
    usher.recordings
      .createDownloadUrl({ recordingId: recording.id })
      .then(({ url }) => location.assign(url), fail)
      .finally(() => setBusy(false));
  };
  return (
    <button type="button" className="button primary" disabled={busy} onClick={download}>
      <Icon name="download" />
      {t.recordings.download}
    </button>
  );
}

function useReload(recording: Recording): () => void {
  const queries = useQueryClient();
  const transport = useTransport();
  return () =>
    void queries.invalidateQueries({
      queryKey: createConnectQueryKey({
        schema: RecordingsService.method.getRecording,
        input: { recordingId: recording.id },
        transport,
        cardinality: "finite",
      }),
    });
}

function Keep({ recording }: { recording: Recording }) {
  const { texts: t, locale } = useLanguage();
  const reload = useReload(recording);
  const update = useMutation(RecordingsService.method.updateRecording, { onSettled: reload });
  return (
    <>
      <label className="choice compact">
        <input
          type="checkbox"
          checked={recording.keep}
          disabled={update.isPending}
          onChange={(event) =>
            update.mutate({ recordingId: recording.id, keep: event.target.checked, updateMask: { paths: ["keep"] } })
          }
        />
        <span>
          {t.recordings.keep}
          {!recording.keep && <small>{t.recordings.keepHint(day(locale, recording.expireTime))}</small>}
        </span>
      </label>
      <ErrorNotice error={update.error} />
    </>
  );
}

function identifierOf(access: RecordingAccess) {
  return access.user
    ? ({ case: "userId", value: access.user.id } as const)
    : ({ case: "email", value: access.email } as const);
}

function Sharing({ recording }: { recording: Recording }) {
  const t = useTexts();
  const id = useId();
  const me = useMe();
  const { fail } = useToaster();
  const [email, setEmail] = useState("");
  const [role, setRole] = useState(Role.MEMBER);
  const accesses = useInfiniteQuery(
    RecordingsService.method.listRecordingAccesses,
    { recordingId: recording.id, pageToken: "", pageSize: 50 },
    { pageParamKey: "pageToken", getNextPageParam: (page) => page.nextPageToken || undefined },
  );
  const reload = () => void accesses.refetch();
  const grant = useMutation(RecordingsService.method.grantRecordingAccess);
  const revoke = useMutation(RecordingsService.method.revokeRecordingAccess, { onSuccess: reload, onError: fail });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    grant.mutate(
      { recordingId: recording.id, identifier: { case: "email", value: email.trim() }, role },
      {
        onSuccess: () => {
          setEmail("");
          reload();
        },
      },
    );
  };
  const all = accesses.data?.pages.flatMap((page) => page.accesses) ?? [];
  return (
    <section className="card stack">
      <h2>{t.recordings.share}</h2>
      <p className="muted">{t.recordings.shareHint}</p>
      <ErrorNotice error={accesses.error} retry={reload} />
      <ul className="people">
        {all.map((access) => {
          const name = access.user?.displayName || access.email;
          return (
            <li className="person" key={access.user?.id ?? access.email}>
              <Avatar name={name} />
              <span className="who">
                <span className="clamp">{name}</span>
                <small className="muted">
                  {roleName(t, access.role)}
                  {access.pending && ` · ${t.settings.pending}`}
                </small>
              </span>
              {access.role !== Role.OWNER && access.user?.id !== me?.id && (
                <button
                  type="button"
                  className="icon-button"
                  aria-label={t.recordings.removeAccess(name)}
                  title={t.recordings.removeAccess(name)}
                  disabled={revoke.isPending}
                  onClick={() => revoke.mutate({ recordingId: recording.id, identifier: identifierOf(access) })}
                >
                  <Icon name="trash" />
                </button>
              )}
            </li>
          );
        })}
      </ul>
      {accesses.hasNextPage && (
        <button type="button" className="button" onClick={() => accesses.fetchNextPage()}>
          {t.common.more}
        </button>
      )}
      <form className="row wrap end" onSubmit={submit} aria-label={t.recordings.share}>
        <div className="field grow">
          <label htmlFor={`${id}-email`}>{t.settings.email}</label>
          <input
            id={`${id}-email`}
            type="email"
            required
            maxLength={254}
            autoComplete="off"
            value={email}
            onChange={(event) => setEmail(event.target.value)}
          />
        </div>
        <div className="field">
          <label htmlFor={`${id}-role`}>{t.settings.role}</label>
          <select id={`${id}-role`} value={role} onChange={(event) => setRole(Number(event.target.value))}>
            {[Role.MEMBER, Role.ADMINISTRATOR].map((one) => (
              <option key={one} value={one}>
                {roleName(t, one)}
              </option>
            ))}
          </select>
        </div>
        <button type="submit" className="button primary" disabled={grant.isPending}>
          {t.recordings.share}
        </button>
      </form>
      <ErrorNotice error={grant.error} />
    </section>
  );
}

function Deletion({ recording }: { recording: Recording }) {
  const t = useTexts();
  const [, go] = useLocation();
  const [asked, setAsked] = useState(false);
  const remove = useMutation(RecordingsService.method.deleteRecording, { onSuccess: () => go("/") });
  return (
    <div>
      <button type="button" className="button danger" onClick={() => setAsked(true)}>
        <Icon name="trash" />
        {t.recordings.delete}
      </button>
      {asked && (
        <Dialog title={t.recordings.deleteTitle} onClose={() => setAsked(false)}>
          <p>{t.recordings.deleteBody}</p>
          <ErrorNotice error={remove.error} />
          <div className="actions">
            <button type="button" className="button" onClick={() => setAsked(false)}>
              {t.common.cancel}
            </button>
            <button
              type="button"
              className="button danger"
              disabled={remove.isPending}
              onClick={() => remove.mutate({ recordingId: recording.id })}
            >
              {t.recordings.delete}
            </button>
          </div>
        </Dialog>
      )}
    </div>
  );
}
