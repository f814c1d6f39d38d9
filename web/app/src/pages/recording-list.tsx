import { RecordingsService, type Room } from "@usher-meet/client";
import { useInfiniteQuery } from "@usher-meet/client/react";
import { Link } from "wouter";
import { isFinal, length, modeName, moment, statusOf } from "../recordings.ts";
import { useLanguage } from "../texts/index.tsx";
import { ErrorNotice, Loading } from "../ui/feedback.tsx";

/** The recordings of a room that the caller has access to, newest first. It follows those that are not over. */
export function RecordingList({ room }: { room: Room }) {
  const { texts: t, locale } = useLanguage();
  const list = useInfiniteQuery(
    RecordingsService.method.listRecordings,
    { room: room.id, pageToken: "", pageSize: 20 },
    {
      pageParamKey: "pageToken",
      getNextPageParam: (page) => page.nextPageToken || undefined,
      refetchInterval: ({ state }) =>
        state.data?.pages.some((page) => page.recordings.some((one) => !isFinal(one))) ? 4000 : false,
    },
  );
  const all = list.data?.pages.flatMap((page) => page.recordings) ?? [];
  return (
    <section className="card stack">
      <h2>{t.recordings.title}</h2>
      <ErrorNotice error={list.error} retry={() => list.refetch()} />
      {list.isPending && <Loading />}
      {list.data && all.length === 0 && (
        <p className="muted">
          {t.recordings.none}. {t.recordings.noneHint}
        </p>
      )}
      <ul className="lines">
        {all.map((recording) => {
          const status = statusOf(t, recording);
          return (
            <li key={recording.id}>
              <span className="grow">
                <Link href={`/recording/${recording.id}`}>
                  {moment(locale, recording.startTime ?? recording.createTime)}
                </Link>{" "}
                <span className="muted">
                  {modeName(t, recording.mode)} {length(recording)}
                </span>
              </span>
              <span className={`badge ${status.mood}`}>{status.words}</span>
            </li>
          );
        })}
      </ul>
      {list.hasNextPage && (
        <button type="button" className="button" disabled={list.isFetchingNextPage} onClick={() => list.fetchNextPage()}>
          {t.common.more}
        </button>
      )}
    </section>
  );
}
