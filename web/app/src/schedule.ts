/** How a meeting repeats, as people choose it. */
export type Repeat = "never" | "daily" | "weekly" | "biweekly" | "monthly";

/** The RRULE of a choice; how often it takes place in all is always said, so that invitations end. */
export function recurrenceRule(repeat: Repeat, times: number): string {
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
  }
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

/** The next full hour, and an hour later, in the form of an input for date and time. */
export function nextHour(now: Date): [string, string] {
  const start = new Date(now);
  start.setMinutes(60, 0, 0);
  return [localInput(start), localInput(new Date(start.getTime() + 3_600_000))];
}

function localInput(time: Date): string {
  const two = (n: number) => String(n).padStart(2, "0");
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}T${two(time.getHours())}:${two(time.getMinutes())}`;
}
