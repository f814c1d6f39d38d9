// The client package by itself in Chromium: its published files as they are, without a bundler, on a page of another site.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { relative } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { freePort, Usher } from "../testing/usher.js";
import { launch, Person } from "./browser.js";

/** @type {(() => unknown)[]} */
const cleanups = [];
const scope = { after: (/** @type {() => unknown} */ fn) => cleanups.unshift(fn) };
/** @type {Usher} */
let usher;
/** @type {import("playwright-core").Browser} */
let browser;
let site = "";

const web = fileURLToPath(new URL("..", import.meta.url));

/** What the client's files import by name, and where a browser finds it. */
const imports = Object.fromEntries(
  [
    "@usher-meet/client",
    ...["@bufbuild/protobuf", "@bufbuild/protobuf/codegenv2", "@bufbuild/protobuf/wire", "@bufbuild/protobuf/wkt"],
    ...["@connectrpc/connect", "@connectrpc/connect/protocol", "@connectrpc/connect/protocol-connect"],
    ...["@connectrpc/connect/protocol-grpc-web", "@connectrpc/connect-web"],
  ].map((name) => [name, `/${relative(web, fileURLToPath(import.meta.resolve(name)))}`]),
);

const page = `<!doctype html><html lang="en"><title>Another site</title><link rel="icon" href="data:,">
<script type="importmap">${JSON.stringify({ imports })}</script>`;

before(async () => {
  const port = await freePort();
  site = `http://localhost:${port}`;
  const server = createServer(async (request, response) => {
    const path = new URL(request.url ?? "/", site).pathname;
    if (path === "/") {
      response.setHeader("Content-Type", "text/html").end(page);
      return;
    }
    try {
      const file = await readFile(new URL(`..${path}`, import.meta.url));
      response.setHeader("Content-Type", "text/javascript").end(file);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", () => resolve(undefined)));
  scope.after(() => server.close());
  scope.after(() => server.closeAllConnections());
  usher = await Usher.start(scope, { USHER_ALLOWED_ORIGINS: site });
  browser = await launch(scope);
});
after(async () => {
  for (const clean of cleanups) await clean();
});

test("the client in Chromium", async (t) => {
  const visitor = await Person.open(browser, site);
  // The browser tells of every refusal, and that the server was away for a moment.
  visitor.expected.push(/status of (400|401|403|404|409|429) /, /net::ERR_/);
  await visitor.page.exposeFunction("restartUsher", async () => {
    await usher.stop();
    await usher.start();
    return usher.token;
  });
  await visitor.page.goto("/");
  const names = await visitor.page.evaluate(
    async ({ url, token }) => {
      const same = (/** @type {unknown} */ value) =>
        JSON.stringify(value, (_, part) => (typeof part === "bigint" ? `${part}n` : part));
      const check = {
        ok: (/** @type {unknown} */ value, message = "not so") => {
          if (!value) throw new Error(message);
        },
        equal: (/** @type {unknown} */ actual, /** @type {unknown} */ wanted, message = "") => {
          if (!Object.is(actual, wanted)) throw new Error(`${message} is ${actual}, not ${wanted}`);
        },
        deepEqual: (/** @type {unknown} */ actual, /** @type {unknown} */ wanted, message = "") => {
          if (same(actual) !== same(wanted)) throw new Error(`${message} is ${same(actual)}, not ${same(wanted)}`);
        },
      };
      const place = {
        url,
        token: () => token,
        restart: async () => {
          // @ts-expect-error the test puts it there
          token = await window.restartUsher();
        },
      };
      const file = "/client/test/cases.js";
      const { casesOf } = /** @type {typeof import("../client/test/cases.js")} */ (await import(file));
      const cases = casesOf(check, place);
      Object.assign(window, { cases });
      return cases.map(([name]) => name);
    },
    { url: usher.url, token: usher.token },
  );
  assert.ok(names.length >= 8, names.join(", "));
  for (const [at, name] of names.entries()) {
    await t.test(name, async () => {
      // @ts-expect-error put there above
      await visitor.page.evaluate(async (n) => await window.cases[n][1](), at);
    });
  }
  await visitor.close();
});
