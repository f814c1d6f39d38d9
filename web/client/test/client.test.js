import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { createUsherClient, UsherError } from "@usher-meet/client";
import { Usher } from "../../testing/usher.js";
import { casesOf } from "./cases.js";

/** @type {Usher} */
let usher;
/** @type {(() => unknown)[]} */
const cleanups = [];
before(async () => {
  usher = await Usher.start({ after: (fn) => cleanups.unshift(fn) });
});
after(async () => {
  for (const clean of cleanups) await clean();
});

/** @param {() => Promise<unknown>} call */
async function refusal(call) {
  const thrown = await call().then(
    () => undefined,
    (error) => error,
  );
  assert.ok(thrown instanceof UsherError, `thrown: ${thrown}`);
  return thrown;
}

test("what is no answer of Usher", async () => {
  const port = createServer((_, response) => response.end("<html>a captive portal</html>"));
  await new Promise((resolve) => port.listen(0, "127.0.0.1", () => resolve(undefined)));
  const address = /** @type {import("node:net").AddressInfo} */ (port.address());
  const portal = createUsherClient({ baseUrl: `http://127.0.0.1:${address.port}` });
  assert.equal((await refusal(() => portal.config.getConfig({}))).reason, undefined);
  await new Promise((resolve) => port.close(resolve));
  const nobody = await refusal(() => portal.config.getConfig({}));
  assert.ok(nobody.unreachable && nobody.temporary, String(nobody));
});

test("the lines of the README work", () => {
  const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
  const code = /```js\n([\s\S]*?)```/.exec(readme)?.[1];
  assert.ok(code);
  const lines = code
    .trim()
    .split("\n")
    .filter((line) => line.trim() !== "" && !line.startsWith("//"));
  assert.equal(lines.length, 10, "ten lines are promised");
  const file = new URL("readme.generated.mjs", import.meta.url);
  try {
    writeFileSync(file, code);
    const printed = execFileSync(process.execPath, [file.pathname], {
      env: { ...process.env, USHER_URL: usher.url, USHER_TOKEN: usher.token },
      encoding: "utf8",
      timeout: 60_000,
    });
    assert.match(printed, /Grace is in\n$/);
  } finally {
    rmSync(file, { force: true });
  }
});

test("the package is clean", () => {
  const listed = JSON.parse(
    execFileSync("npm", ["pack", "--dry-run", "--json", "--loglevel=error"], {
      cwd: new URL("..", import.meta.url).pathname,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }),
  );
  /** @type {string[]} */
  const files = listed[0].files.map((/** @type {{ path: string }} */ f) => f.path);
  const odd = files.filter((path) => !/^(package\.json|README\.md|LICENSE|dist\/.*\.(js|d\.ts))$/.test(path));
  assert.deepEqual(odd, []);
  for (const path of [
    "dist/index.js",
    "dist/index.d.ts",
    "dist/react.js",
    "dist/gen/usher/v1/rooms_pb.d.ts",
    "README.md",
    "LICENSE",
  ]) {
    assert.ok(files.includes(path), `${path} is missing`);
  }
});

// The last one, because it uses limits up for whoever comes from this address.
test("what Node and browsers do alike", async (t) => {
  const place = {
    url: usher.url,
    token: () => usher.token,
    restart: async () => {
      await usher.stop();
      await usher.start();
    },
  };
  for (const [name, run] of casesOf(assert, place)) await t.test(name, run);
});
