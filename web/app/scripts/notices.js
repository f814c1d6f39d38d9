// Writes into THIRD_PARTY_NOTICES what the web app is made of besides our own code, with the licences, which ask to come along
// with every copy. With --check it fails instead when something else is written there.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const web = fileURLToPath(new URL("../..", import.meta.url));
const file = join(web, "../THIRD_PARTY_NOTICES");
const heading = "The web app is made of these npm packages, which programs and images that have it in them contain too:\n";

/** The packages that end up in a browser, by their folder: those of the lock file that are neither tools nor types. */
function* packages() {
  const lock = JSON.parse(readFileSync(join(web, "package-lock.json"), "utf8"));
  for (const [folder, { version, license, dev, devOptional, link }] of Object.entries(lock.packages)) {
    const name = folder.split("node_modules/").at(-1) ?? "";
    if (!folder.includes("node_modules/") || dev || devOptional || link || name.startsWith("@types/")) continue;
    yield { name, version, license, texts: texts(join(web, folder)) };
  }
}

/** What a package says about its licence: in files of their own, or else above its code. */
function texts(folder) {
  const names = readdirSync(folder).filter((name) => /^(licen[cs]e|notice|copying)([.-]|$)/i.test(name));
  if (names.length === 0) return [...new Set(headersIn(folder))];
  return names.sort().map((name) => readFileSync(join(folder, name), "utf8").replaceAll("\r\n", "\n").trim());
}

/** What stands above the code of a package, where that names who it is by. */
function headersIn(folder) {
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) =>
    /^dist\/esm\/.*\.js$/.test(name),
  );
  return files.sort().flatMap((name) => {
    const [comment = ""] = /^(\/\/.*\n)+/.exec(readFileSync(join(folder, name), "utf8")) ?? [];
    // What is about the code comes below what is about the licence.
    const text = comment.replaceAll(/^\/\/ ?/gm, "").replace(/(limitations under the License\.\n)[\s\S]*/, "$1");
    return text.includes("Copyright") ? text.trim() : [];
  });
}

function notices() {
  const all = [...packages()].sort((a, b) => (`${a.name} ${a.version}` < `${b.name} ${b.version}` ? -1 : 1));
  const width = Math.max(...all.map(({ name, version }) => `${name} ${version}`.length));
  const lines = all.map(({ name, version, license }) => `    ${`${name} ${version}`.padEnd(width)}  ${license}\n`);
  const holders = new Map();
  for (const { name, texts } of all) {
    for (const text of texts) holders.set(text, [...new Set([...(holders.get(text) ?? []), name])]);
  }
  const rule = "-".repeat(80);
  const bodies = [...holders].map(([text, names]) => `\n${rule}\n${names.join("\n")}\n${rule}\n\n${text}\n`);
  return `${heading}\n${lines.join("")}${bodies.join("")}`;
}

const before = readFileSync(file, "utf8");
const at = before.indexOf(heading);
const now = `${at < 0 ? `${before}\n` : before.slice(0, at)}${notices()}`;
if (process.argv[2] !== "--check") writeFileSync(file, now);
else if (now !== before) throw new Error("THIRD_PARTY_NOTICES is not up to date: run tools/web notices");
