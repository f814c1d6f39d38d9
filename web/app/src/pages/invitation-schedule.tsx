import { type Repeat, type Times, zoneOfBrowser } from "../schedule.ts";
import { useTexts } from "../texts/index.tsx";

/** Something that is so or not, with what it means. */
export function Check({
  label,
  hint,
  checked,
  set,
}: {
  label: string;
  hint?: string;
  checked: boolean;
  set: (on: boolean) => void;
}) {
  return (
    <label className="choice compact">
      <input type="checkbox" checked={checked} onChange={(event) => set(event.target.checked)} />
      <span>
        {label}
        {hint && <small>{hint}</small>}
      </span>
    </label>
  );
}

/** When a meeting takes place, and how it repeats. */
export function Schedule({ id, draft, change }: { id: string; draft: Times; change: (to: Partial<Times>) => void }) {
  const t = useTexts();
  // A rule that was not made here can be kept, and not be chosen.
  const repeats = (Object.entries(t.invitations.repeats) as [Repeat, string][]).filter(
    ([repeat]) => repeat !== "other" || draft.rule !== "",
  );
  return (
    <div className="indented">
      <div className="row wrap">
        <div className="field grow">
          <label htmlFor={`${id}-start`}>{t.invitations.start}</label>
          <input
            id={`${id}-start`}
            type="datetime-local"
            required
            value={draft.start}
            onChange={(event) => change({ start: event.target.value })}
          />
        </div>
        <div className="field grow">
          <label htmlFor={`${id}-end`}>{t.invitations.end}</label>
          <input
            id={`${id}-end`}
            type="datetime-local"
            required
            value={draft.end}
            onChange={(event) => change({ end: event.target.value })}
          />
        </div>
      </div>
      <small>{t.invitations.timezone(zoneOfBrowser().replaceAll("_", " "))}</small>
      <div className="row wrap">
        <div className="field grow">
          <label htmlFor={`${id}-repeat`}>{t.invitations.repeat}</label>
          <select
            id={`${id}-repeat`}
            value={draft.repeat}
            onChange={(event) => change({ repeat: event.target.value as Repeat })}
          >
            {repeats.map(([repeat, words]) => (
              <option key={repeat} value={repeat}>
                {words}
              </option>
            ))}
          </select>
        </div>
        {draft.repeat !== "never" && draft.repeat !== "other" && (
          <div className="field grow">
            <label htmlFor={`${id}-times`}>{t.invitations.times}</label>
            <input
              id={`${id}-times`}
              type="number"
              min={2}
              max={365}
              value={draft.times}
              onChange={(event) => change({ times: event.target.valueAsNumber || 2 })}
            />
          </div>
        )}
      </div>
    </div>
  );
}
