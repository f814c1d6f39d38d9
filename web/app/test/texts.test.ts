import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorReason, type Reason, UsherError } from "@usher-meet/client";
import { errorWords } from "../src/errors.ts";
import { de } from "../src/texts/de.ts";
import { en } from "../src/texts/en.ts";
import { fr } from "../src/texts/fr.ts";
import { nl } from "../src/texts/nl.ts";

const languages = { en, fr, de, nl };

/** Every text, by its path. Texts with something to fill in are filled in. */
function* texts(of: unknown, path = ""): Generator<[string, string]> {
  if (typeof of === "function")
    yield [path, String(of(...(path.match(/phone$|refused$|invitation.text$/) ? ["a", "b"] : [2])))];
  else if (typeof of === "string") yield [path, of];
  else for (const [key, value] of Object.entries(of as object)) yield* texts(value, `${path}.${key}`);
}

// The types say so too; this holds for what is loaded.
test("every language has every text", () => {
  const wanted = [...texts(en)].map(([path]) => path);
  assert.ok(wanted.length > 300, `${wanted.length} texts`);
  for (const [language, own] of Object.entries(languages)) {
    assert.deepEqual([...texts(own)].map(([path]) => path).sort(), wanted.toSorted(), language);
    for (const [path, text] of texts(own))
      assert.ok(text.trim() !== "" && !text.includes("undefined"), `${language}${path}: ${text}`);
  }
});

test("languages differ: nothing was left in English", () => {
  const english = new Map(texts(en));
  // Words that are the same in two languages.
  const alike =
    /^(Code|Administrator|Profile?|Name|Open|Camera|Guest|PIN|Link|Transcript|Standard|Start|Recorder|Invitations|Message|Microphone|Sessions|abc-defg-hij|a: b|Privacy)$/;
  for (const [language, own] of Object.entries(languages)) {
    if (language === "en") continue;
    for (const [path, text] of texts(own)) {
      assert.ok(text !== english.get(path) || alike.test(text), `${language}${path} is English: ${text}`);
    }
  }
});

test("every refusal has words in every language", () => {
  const reasons = Object.keys(ErrorReason).filter((key) => Number.isNaN(Number(key)) && key !== "UNSPECIFIED") as Reason[];
  assert.ok(reasons.length > 50);
  for (const [language, own] of Object.entries(languages)) {
    for (const reason of reasons) assert.ok(own.errors[reason]?.length > 10, `${language} has no words for ${reason}`);
  }
});

test("errors that are none of Usher's have words too", () => {
  assert.equal(errorWords(en, new TypeError("Failed to fetch")), en.errorUnreachable);
  assert.equal(errorWords(en, UsherError.from(new Error("odd"))), en.errorUnknown);
});
