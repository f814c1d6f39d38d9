// Runs the tests of what needs no browser: compiled, because Node 20 does not read TypeScript.
import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));
rmSync(".tested", { recursive: true, force: true });
execFileSync(process.execPath, ["../node_modules/typescript/bin/tsc", "-p", "test"], { stdio: "inherit" });
const files = readdirSync(".tested/test").filter((file) => file.endsWith(".test.js"));
const { status } = spawnSync(
  process.execPath,
  ["--test", "--test-reporter=spec", ...files.map((file) => `.tested/test/${file}`)],
  {
    stdio: "inherit",
  },
);
process.exitCode = status ?? 1;
