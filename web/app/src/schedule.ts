import { type Timestamp, timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";

/** How a meeting repeats, as people choose it. Other: by a rule that cannot be chosen here. */
export type Repeat = "never" | "daily" | "weekly" | "biweekly" | "monthly" | "other";

/** When a meeting takes place, as a form has it. */
export interface Times {
  /** What an input for date and time holds. */
  start: string;
  end: string;
  repeat: Repeat;
  /** How often, when it repeats. */
  times: number;
  /** The rule of a meeting that repeats in another way. Empty: there is none. */
  rule: string;
}

/** The RRULE of a choice; how often it takes place in all is always said, so that invitations end. */
export function recurrenceRule({ repeat, times, rule }: Pick<Times, "repeat" | "times" | "rule">): string {
  const count = `COUNT=${Math.max(2, Math.min(365, Math.round(times) || 2))}`;
  switch (repeat) {
    case "never":
      return "";
    case "daily":
      return `FREQ=DAILY;${count}`;
    case "weekly":
      return `FREQ=WEEKLY;${count}`;
    case "biweekly":
      return `FREQ=WEEKLY;INTERVAL=2;${count}`;
    case "monthly":
      return `FREQ=MONTHLY;${count}`;
    case "other":
      return rule;
  }
}

/** The choice that an RRULE stands for. */
export function repeatOf(rule: string): Pick<Times, "repeat" | "times" | "rule"> {
  const times = Number(/(?:^|;)COUNT=(\d+)(?:;|$)/.exec(rule)?.[1] ?? 10);
  const parts = (text: string) => text.split(";").sort().join(";");
  for (const repeat of ["never", "daily", "weekly", "biweekly", "monthly"] as const) {
    if (parts(recurrenceRule({ repeat, times, rule: "" })) === parts(rule)) return { repeat, times, rule: "" };
  }
  return { repeat: "other", times, rule };
}

/** The times of a meeting, to be changed in a form. */
export function timesIn(start: Timestamp, end: Timestamp, rule: string): Times {
  return { start: localInput(timestampDate(start)), end: localInput(timestampDate(end)), ...repeatOf(rule) };
}

/** What a form says, as the contract has it. */
export function timesOf(form: Times): { startTime: Timestamp; endTime: Timestamp; recurrence: string } {
  return {
    startTime: timestampFromDate(new Date(form.start)),
    endTime: timestampFromDate(new Date(form.end)),
    recurrence: recurrenceRule(form),
  };
}

/** Whether both times are there, in their order. */
export function endsAfterItBegins({ start, end }: Times): boolean {
  return new Date(end) > new Date(start);
}

/** The zone in which people type and read times here. */
export function zoneOfBrowser(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone;
}

/** The addresses in what somebody typed or pasted: with commas, semicolons, spaces or lines between them, each once. */
export function addressesIn(typed: string): string[] {
  const found = new Map<string, string>();
  for (const one of typed.split(/[\s,;]+/)) {
    const address = one.replace(/^<|>$/g, "").trim();
    if (address !== "") found.set(address.toLowerCase(), address);
  }
  return [...found.values()];
}

/** A meeting of an hour that begins with the next one. */
export function nextHour(now: Date): Times {
  const start = new Date(now);
  start.setMinutes(60, 0, 0);
  const end = new Date(start.getTime() + 3_600_000);
  return { start: localInput(start), end: localInput(end), ...repeatOf("") };
}

/** A moment as an input for date and time wants it. */
function localInput(time: Date): string {
  const two = (n: number) => String(n).padStart(2, "0");
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}T${two(time.getHours())}:${two(time.getMinutes())}`;
}
