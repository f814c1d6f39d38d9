import { UsherError } from "@usher-meet/client";
import type { Texts } from "./texts/en.ts";

/** What an error means to people, and what they can do. */
export function errorWords(texts: Texts, thrown: unknown): string {
  const error = UsherError.from(thrown);
  if (error.reason !== undefined) return texts.errors[error.reason];
  return error.unreachable ? texts.errorUnreachable : texts.errorUnknown;
}
