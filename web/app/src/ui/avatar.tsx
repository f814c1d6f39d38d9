/** The initials of a name, in the person's colour. */
export function Avatar({ name, color, large = false }: { name: string; color?: string | undefined; large?: boolean }) {
  // The letters are a picture: the style draws them.
  return (
    <span
      className={large ? "avatar large" : "avatar"}
      data-initials={initials(name)}
      style={{ backgroundColor: safeColor(color) }}
      aria-hidden="true"
    />
  );
}

/** At most two letters, whatever script the name is in. */
export function initials(name: string): string {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const letters = [words[0], words.length > 1 ? words.at(-1) : undefined].map((word) => [...(word ?? "")][0] ?? "");
  return letters.join("").toLocaleUpperCase() || "?";
}

/** Colours come from other people's clients by way of LiveKit: only the form that Usher makes is taken. */
function safeColor(color: string | undefined): string | undefined {
  const parts = /^hsl\((\d{1,3}), (\d{1,3})%, (\d{1,3})%\)$/.exec(color ?? "");
  // White letters stay readable on it.
  return parts ? `hsl(${parts[1]}, ${Math.min(Number(parts[2]), 55)}%, ${Math.min(Number(parts[3]), 30)}%)` : undefined;
}
