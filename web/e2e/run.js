// Runs the browser tests, one file after the other: two browsers at once are as much as two cores can do. Arguments name the
// files to run, without their ending.
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL(".", import.meta.url)));
rmSync("artefacts", { recursive: true, force: true });
const names = process.argv.slice(2);
const files = readdirSync(".").filter(
  (file) => file.endsWith(".test.js") && (names.length === 0 || names.includes(file.replace(".test.js", ""))),
);
if (files.length === 0) throw new Error(`there are no browser tests named ${names}`);
const { status } = spawnSync(
  process.execPath,
  ["--test", "--test-reporter=spec", "--test-concurrency=1", "--test-timeout=600000", ...files],
  { stdio: "inherit" },
);
process.exitCode = status ?? 1;
