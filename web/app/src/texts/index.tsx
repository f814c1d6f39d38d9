import { createContext, type ReactNode, useCallback, useContext, useMemo, useState } from "react";
import type { Texts } from "./en.ts";

/** The languages that there are texts for, as their speakers call them. */
export const languages = { en: "English", fr: "Français", de: "Deutsch", nl: "Nederlands" };
export type Language = keyof typeof languages;

const load: Record<Language, () => Promise<Texts>> = {
  en: async () => (await import("./en.ts")).en,
  fr: async () => (await import("./fr.ts")).fr,
  de: async () => (await import("./de.ts")).de,
  nl: async () => (await import("./nl.ts")).nl,
};

const stored = "usher.language";

/** The language of ours that a BCP 47 tag means. */
export function languageOf(tag: string): Language | undefined {
  const primary = tag.toLowerCase().split("-")[0] ?? "";
  return primary in languages ? (primary as Language) : undefined;
}

/** What this browser's user chose before, else what they read, else English. */
export function firstLanguage(): Language {
  for (const tag of [localStorage.getItem(stored) ?? "", ...navigator.languages]) {
    const found = languageOf(tag);
    if (found) return found;
  }
  return "en";
}

/** The kind of a language that this browser's user reads, which says how they write times: English of Britain, for instance. */
function localeOf(language: Language): string {
  return navigator.languages.find((tag) => languageOf(tag) === language) ?? language;
}

interface Spoken {
  language: Language;
  /** The language with its region, for dates, times and numbers. */
  locale: string;
  texts: Texts;
  /** Changes the language of the page, and remembers it in this browser. It returns the words of that language. */
  speak: (language: Language) => Promise<Texts>;
}

const Context = createContext<Spoken | undefined>(undefined);

/** Loads the texts of a language. The page is rendered after that, so that nothing flickers. */
export function loadTexts(language: Language): Promise<Texts> {
  document.documentElement.lang = language;
  return load[language]();
}

export function TextsProvider({ language, texts, children }: { language: Language; texts: Texts; children: ReactNode }) {
  const [now, setNow] = useState({ language, texts });
  const speak = useCallback(async (next: Language) => {
    localStorage.setItem(stored, next);
    const texts = await loadTexts(next);
    setNow({ language: next, texts });
    return texts;
  }, []);
  const value = useMemo(() => ({ ...now, locale: localeOf(now.language), speak }), [now, speak]);
  return <Context.Provider value={value}>{children}</Context.Provider>;
}

export function useLanguage(): Spoken {
  const spoken = useContext(Context);
  if (!spoken) throw new Error("useLanguage needs a TextsProvider above it");
  return spoken;
}

export function useTexts(): Texts {
  return useLanguage().texts;
}

/** Whether this browser's user chose a language here: it then goes before the one of their account. */
export function languageChosen(): boolean {
  return localStorage.getItem(stored) !== null;
}
