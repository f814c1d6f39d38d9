// Runs the tests one file after the other: each starts an Usher of its own.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const test = fileURLToPath(new URL("../test/client.test.js", import.meta.url));
const { status } = spawnSync(process.execPath, ["--test", "--test-reporter=spec", "--test-timeout=120000", test], {
  stdio: "inherit",
});
process.exitCode = status ?? 1;
